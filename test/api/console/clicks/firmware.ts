import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { cycloneDx, fileOf, osv } from '../../../sbom/samples.ts';
import { covers } from '../../../support/covers.ts';
import { act, at, fleet, newer, seen, shown } from './kit.ts';

/** What release managers, and an officer, click for lines, releases, rollouts and vulnerabilities. */

export function clickFirmware(): void {
  describe('firmware', () => {
    it('lines get their rules', async () => {
      expect(await shown(await act('mia', '/console/lines', 'New line', { Name: 'gauge', 'Largest security counter': '60' }))).toContain(
        '60 left',
      );
      await act('mia', '/console/lines/gauge', 'Raise the floor…', { 'Lowest security counter': '2' });
      await act('mia', '/console/lines/scale', 'Raise the floor…', { 'Lowest security counter': '2' });
      expect(await shown(await at('mia', '/console/lines/scale'))).toContain('counter floor 2, proposed by operator:mia');
      expect(await shown(await act('max', '/console/lines/scale', 'Approve the change…'))).toContain('2: nothing below it');
      await act('mia', '/console/lines/gauge', 'Support period', { 'Last day': '2031-12-31' });
      await act('mia', '/console/lines/gauge', 'Encrypt images…', { 'AES key': '256', 'No device of the line gets a plain image': true });
      await act('olga', '/console/lines/gauge', 'Attestation rules', {
        'Oldest version of SPDM': '1.3',
        'Each connected device proves itself every': '24',
      });
      const page = await act('olga', '/console/lines/gauge', 'Attest all');
      expect(await shown(page)).toContain('AES-256, a key of each device, never plain');
      expect(await shown(page)).toContain('SPDM 1.3 or newer');
    });

    it('a release is uploaded with its bill of materials, approved and published; another is withdrawn', async () => {
      covers('I16');
      const upload = {
        Line: 'meter',
        Version: '1.3.0',
        'Security counter': '5',
        File: { name: 'app.bin', bytes: new Uint8Array(randomBytes(3000)) },
      };
      const path = new URL((await act('mia', '/console/releases', 'Upload firmware', upload)).url()).pathname;
      const sbom = { name: 'sbom.json', bytes: fileOf(cycloneDx([{ name: 'openssl', version: '3.0.1' }])) };
      expect((await shown(await act('mia', path, 'Attach a bill of materials', { File: sbom }))).toLowerCase()).toContain('cyclonedx');
      seen.release = path;
      await act('max', path, 'Approve');
      await act('max', path, 'Publish');
      expect(await shown(await act('max', `/console/releases/${fleet.next.releaseId}`, 'Withdraw…', { Reason: 'a fault' }))).toContain(
        'withdrawn',
      );
    });

    it('a rollout is planned with all that a plan has; its approver sees it', async () => {
      covers('I16');
      const plan = {
        Release: newer,
        'Groups, one after the other': 'tag=pilot\n50\n100',
        'It halts above (devices failed)': '2',
        'At most so many offers a minute': '60',
        'The security counter may rise': true,
        'Only at these times': '00:00-23:59 Europe/Berlin',
        'Begins with so many offers': '10',
        'A device that failed is offered it again': '2',
        'A device has failed that is testing': '120',
      };
      const path = new URL((await act('mia', '/console/rollouts', 'Plan a rollout', plan)).url()).pathname;
      const page = await at('max', path);
      await page.getByRole('link', { name: 'Approve', exact: true }).click();
      const look = (await page.locator('.look').textContent()) ?? '';
      for (const said of [
        'tag pilot, then 50 %, then 100 %',
        'or 2 devices failed',
        '60 devices in a minute',
        '10 in a minute, doubled every 10 minutes',
        '2×, first after 10 minutes',
        'testing 120 minutes',
        'every day 00:00–23:59 Europe/Berlin',
        'A jump of the security counter',
      ])
        expect(look).toContain(said);
      await act('max', path, 'Approve');
      seen.rollout = path;
      await act('max', path, 'Start');
      await act('mia', path, 'Pause', { Reason: 'a holiday' });
      await act('mia', path, 'Resume');
      await act('mia', path, 'Abort…', { Reason: 'enough' });
    });

    it('a vulnerability is opened from its note, reported and closed; its component is found', async () => {
      const note = { name: 'note.json', bytes: fileOf(osv('CVE-2023-0286', 'openssl', '3.0.8')) };
      const path = new URL((await act('olga', '/console/vulnerabilities', 'Open a case', { Note: note })).url()).pathname;
      expect(await shown(await at('olga', path))).toContain('meter app');
      seen.vulnerability = path;
      await act('mia', path, 'A report was made', { Which: 'earlyWarning', 'To whom': 'ENISA, no. 7' });
      const page = await at('olga', '/console/vulnerabilities');
      await page.getByLabel('Where is').fill('openssl@3.0.1');
      await page.getByRole('button', { name: 'Show' }).click();
      expect(await shown(page)).toContain('Where openssl@3.0.1 is');
      expect(await page.locator('a[href^="/console/releases/"]').count()).toBeGreaterThan(0);
      await act('mia', path, 'Close…', { Reason: 'the code is not reached' });
    });
  });
}
