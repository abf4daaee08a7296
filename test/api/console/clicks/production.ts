import { describe, expect, it } from 'vitest';
import { agreeKek, lockedProgrammer } from '../../../services/parties.ts';
import { Chip, TestProgrammer } from '../../../services/production/factory.ts';
import { covers } from '../../../support/covers.ts';
import { httpSite } from '../../httpSite.ts';
import { act, at, bytes, clicked, fleet, seen, server, shown, site, tokens } from './kit.ts';

/** What planners and a line operator click. */

export function clickProduction(): void {
  describe('production', () => {
    it('values for each unit are added; a job is drafted with them and given up', async () => {
      await act('paul', '/console/series', 'New series', { Name: 'meter-serial', Kind: 'serial' });
      await act('paul', '/console/series', 'Add a range', { 'First value': 'SN-0001', Values: '500' }, 'meter-serial');
      await act('paul', '/console/series', 'Add a list', { File: bytes('SN-9001\nSN-9002\n') }, 'meter-serial');
      const page = await act('paul', '/console/jobs', 'New job', { Units: '12', 'Values for each unit': 'serial meter-serial sealed' });
      expect(await shown(page)).toContain('serial from meter-serial (sealed)');
      await act('paul', new URL(page.url()).pathname, 'Cancel job', { Reason: 'a test' });
    });

    it('a job goes from the draft to the signed report, with shares that freeze and go on', async () => {
      covers('I16');
      const path = new URL((await act('paul', '/console/jobs', 'New job', { Units: '5', 'Allowance for scrap': '3', Site: site })).url())
        .pathname;
      seen.job = path;
      const jobId = path.split('/').at(-1) ?? '';
      for (const release of [fleet.bl2, fleet.app]) await act('paul', path, 'Bind firmware', { Release: release.releaseId });
      const chips = Array.from({ length: 5 }, () => new Chip());
      await act('paul', path, 'Attach list of chips', { 'File with UIDs': bytes(chips.map(({ party }) => `${party.uid}\n`).join('')) });
      await act('petra', path, 'Release');
      const builder = await activeProgrammer();
      // A cloned key freezes the share of one programmer where another one works on the job too.
      const other = await activeProgrammer();
      await act('paul', path, 'Give a share', { 'UID of the programmer': other.uid, Units: '1' });
      await act('paul', path, 'Give a share', { 'UID of the programmer': builder.uid, Units: '4', 'Allowance for scrap': '3' });
      seen.programmer = `/console/programmers/${builder.uid}`;
      await downloaded('lou', path, 'Export package');
      await builder.begin(jobId, 4, 3);
      for (const chip of chips.slice(0, 2)) await builder.build(chip);
      await builder.build(chips[2] as Chip, 'bootloader');
      await builder.voidUnit(chips[2] as Chip, false);
      await act('lou', path, 'Suspend', { Reason: 'a wrong label' });
      await act('lou', path, 'Resume');
      await cloneFreezes(builder, chips[0] as Chip, chips[3] as Chip);
      await act('paul', path, 'Thaw', { Reason: 'the fixture was wrong' });
      await cloneFreezes(builder, chips[0] as Chip, chips[4] as Chip);
      await act('paul', path, 'Propose to thaw', { Reason: 'the same fixture' });
      await act('petra', path, 'Approve a thaw');
      expect(await shown(await at('paul', path))).toContain('units in the last hour');
      const page = await act('paul', path, 'Close…', { 'Why it closes': 'the programmer stays at the manufacturer' });
      expect(await shown(page)).toContain('Signed report');
    });
  });
}

/** Two chips with one key: the share freezes. */
async function cloneFreezes(builder: TestProgrammer, original: Chip, clone: Chip): Promise<void> {
  const copied = new Chip({ ...original.party, uid: clone.party.uid });
  await builder.reserve(copied);
  await expect(builder.steps(copied).csr?.()).rejects.toThrow('WEAK_OR_CLONED_KEY');
  await builder.voidUnit(copied, false);
}

async function activeProgrammer(): Promise<TestProgrammer> {
  const names: Readonly<Record<string, string>> = { pia: 'paul', rita: 'mia' };
  const nameOf = (who: string): string => names[who] ?? who;
  const prepared = await lockedProgrammer(httpSite(server, tokens, nameOf));
  const keyPem = prepared.key.export({ format: 'pem', type: 'pkcs8' }) as string;
  const plant = httpSite(server, tokens, nameOf, { certificate: prepared.certificate, keyPem });
  const builder = new TestProgrammer(plant, prepared, await agreeKek(plant, prepared));
  await plant.ask('olga', 'POST', `/v1/programmers/${prepared.uid}/ship`, { to: site });
  await plant.ask(prepared.certificate, 'POST', `/v1/programmers/${prepared.uid}/check-in`);
  return builder;
}

async function downloaded(name: string, path: string, label: string): Promise<void> {
  const page = await at(name, path);
  await page.getByRole('link', { name: label, exact: true }).first().click();
  await page.waitForURL(/\/console\/do\//);
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('form.action .buttons button').click()]);
  expect(download.suggestedFilename()).toContain('.njp');
  clicked.add('export-package');
}
