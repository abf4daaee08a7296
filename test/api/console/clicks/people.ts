import { describe, expect, it } from 'vitest';
import { covers } from '../../../support/covers.ts';
import { exchange } from '../../../support/http.ts';
import { act, as, at, notice, server, shown, site, tokens } from './kit.ts';

const signInElsewhere = (name: string) =>
  exchange(`${server.url}/console/sign-in`, {
    ca: server.rootPem,
    headers: { 'Content-Type': 'application/x-www-form-urlencoded', 'User-Agent': 'another browser' },
    body: `token=${tokens.get(name)}`,
  });

/** What administrators and people click for accounts, tokens and the people in the log. */

export function clickPeople(): void {
  describe('people', () => {
    it('are added, changed and removed by two administrators where they approve', async () => {
      covers('I16');
      await act('alice', '/console/people', 'Add a person', {
        Name: 'rita',
        ' Roles': ['releaseManager'],
        'SHA-256 of the person': 'ab'.repeat(32),
      });
      expect(await shown(await act('bob', '/console/people', 'Approve'))).toContain('rita');
      await act('alice', '/console/people', 'New token', { 'SHA-256 of the person': 'cd'.repeat(32) }, 'rita');
      await act('bob', '/console/people', 'Withdraw');
      await act('alice', '/console/people', 'Roles', { ' Roles': ['auditor'] }, 'ada');
      await act('alice', '/console/people', 'Add a person', { Name: 'nora', ' Roles': ['auditor'] });
      await act('alice', '/console/people', 'Remove…', {}, 'nora');
    });

    it('tokens and sessions: one more of one’s own, by name and for a part; its end by its owner and by an administrator', async () => {
      const wish = { Name: 'build server', ' Roles': ['releaseManager'], 'Only these lines': 'meter', 'Only these sites': site };
      for (const [who, path] of [
        ['mia', '/console/people/me'],
        ['alice', '/console/people/mia'],
      ] as const) {
        await act('mia', '/console/people/me', 'Add a token', wish);
        expect(await shown(await at(who, path))).toContain('releaseManager; lines meter; sites Example CM');
        await act(who, path, 'End…', {}, 'build server');
      }
      for (const [who, path] of [
        ['mia', '/console/people/me'],
        ['alice', '/console/people/mia'],
      ] as const) {
        await signInElsewhere('mia');
        expect(await notice(await act(who, path, 'End…', {}, 'another browser'))).toContain('The session has ended');
      }
      await act('paul', '/console/people/me', 'New token for yourself');
      const page = await as('paul');
      await page.goto(`${server.url}/console`);
      expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Sign in');
    });

    it('an officer asks for more than one may do alone; another allows it', async () => {
      covers('I16');
      const allowance = { What: 'revoke', 'How many': '40', Why: 'returned batch' };
      await act('olga', '/console/people/me', 'Ask for an allowance', allowance);
      await act('otto', '/console/people', 'Allow');
    });

    it('somebody is erased from the log by two administrators; what the log has of them is downloaded before', async () => {
      covers('I16');
      const page = await at('ada', '/console/subjects');
      // Every one by a name, also those who rolled the root.
      expect(await page.locator('tbody strong').allTextContents()).not.toContainEqual(expect.stringContaining('~'));
      const row = page.locator('tr').filter({ hasText: 'nora' });
      const [download] = await Promise.all([page.waitForEvent('download'), row.getByRole('link', { name: 'What the log has' }).click()]);
      expect(download.suggestedFilename()).toBe('subject.jsonl');
      expect(await shown(await act('alice', '/console/subjects', 'Erase…', { Reason: 'asked for it' }, 'nora'))).toContain('Proposed');
      expect(await shown(await act('bob', '/console/subjects', 'Erase…', { Reason: 'asked for it' }, 'nora'))).toContain('Erased');
      expect(await shown(await at('ada', '/console/subjects'))).not.toContain('nora');
    });
  });
}
