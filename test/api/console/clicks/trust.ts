import type { Page } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { covers } from '../../../support/covers.ts';
import { act, at, clicked, notice, unit, type Value } from './kit.ts';

/** What two administrators click for authorities, and two officers for many devices. */

export function clickTrust(): void {
  describe('trust', () => {
    const propose = async (label: string, fields: Readonly<Record<string, Value>> = {}, row?: string) =>
      void (await act('alice', '/console/trust', label, fields, row));
    const approve = async (): Promise<Page> => act('bob', '/console/trust', 'Approve');

    it('authorities and keys are made, activated, retired and given up by two administrators', async () => {
      covers('I16');
      await propose('New issuing CA', { For: 'gateway' });
      await approve();
      await propose('Activate');
      await approve();
      await propose('Retire', {}, 'programmer-1');
      await act('alice', '/console/trust', 'Withdraw');
      await propose('New signing key', { 'It signs': 'report' });
      await approve();
      await propose('Compromised…', { Reason: 'a laptop was lost' }, 'report/1');
      await act('bob', '/console/trust', 'Withdraw');
      await propose('Compromised…', { Reason: 'a test' }, 'for gateway');
      await act('alice', '/console/trust', 'Withdraw');
      await propose('Roll the root…');
      const page = await approve();
      expect(await page.locator('ul.tree > li').count()).toBe(2);
      await propose('Retire…', {}, 'root, P-256');
      await act('bob', '/console/trust', 'Withdraw');
    });

    it('many devices are revoked: several chosen rows are all proposed, and a line', async () => {
      covers('I16');
      const page = await at('olga', '/console/fleet');
      const chosen = [unit(6).uid, unit(7).uid];
      for (const uid of chosen) await page.getByLabel(`Choose ${uid}`).check();
      await page.getByRole('button', { name: 'Propose to revoke…' }).click();
      expect((await page.getByLabel('UIDs').inputValue()).split('\n').toSorted()).toEqual(chosen.toSorted());
      await page.getByLabel('Reason (RFC 5280)').selectOption('cessationOfOperation');
      await page.getByLabel('What happened').fill('a batch');
      await page.locator('form.action .buttons button').click();
      expect(await notice(page)).toContain('proposed');
      clicked.add('propose-revocation');
      await act('otto', '/console/revocations', 'Approve…');
      await act('olga', '/console/revocations', 'Revoke a line or a job…', {
        Line: 'meter',
        'Reason (RFC 5280)': 'superseded',
        'What happened': 'a drill',
      });
      await act('otto', '/console/revocations', 'Cancel');
    });
  });
}
