import { afterAll, beforeAll, expect, it } from 'vitest';
import { sha256Hex } from '../../../src/digest.ts';
import { recoveryDelayHours } from '../../../src/domain/recoveryCodes.ts';
import { beginRecovery, finishRecovery, withdrawOperatorChange } from '../../../src/services/administration/operatorChanges.ts';
import { authenticateOperator, listOperators } from '../../../src/services/administration/operators.ts';
import { hourMs } from '../../../src/times.ts';
import { codeOf } from '../../pki/support.ts';
import { openProject, type Project } from '../project.ts';

/** One of two administrators is lost: the server's own machine gives another, seen by everybody and not before its time. */

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());

const names = async () => (await listOperators(project.ctx)).map(({ name }) => name);

it('adds an administrator after the delay, with alarms when it begins and when it is done', async () => {
  const begun = await beginRecovery(project, 'carol', sha256Hex('token of carol'));
  expect(await codeOf(() => finishRecovery(project, begun.id))).toBe('STATE');
  project.moveClock(recoveryDelayHours * hourMs - 60_000);
  expect(await codeOf(() => finishRecovery(project, begun.id))).toBe('STATE');
  project.moveClock(61_000);
  expect(await finishRecovery(project, begun.id)).toMatchObject({ status: 'DONE', approvedBy: 'system:recovery' });
  expect((await authenticateOperator(project.ctx, 'token of carol')).roles).toEqual(['administrator']);
  const details = (await project.eventsOf('AlarmRaised')).map(({ data }) => String(data.detail));
  expect(details.filter(detail => detail.includes('carol'))).toEqual([
    expect.stringContaining('system:recovery proposes to add carol'),
    expect.stringContaining('system:recovery and system:recovery: add carol'),
  ]);
});

it('gives a person who is known another token, also when everybody’s has expired', async () => {
  const [, bob] = project.tokens;
  const begun = await beginRecovery(project, 'bob', sha256Hex('next token of bob'));
  project.moveClock(400 * 24 * hourMs);
  expect(await codeOf(() => authenticateOperator(project.ctx, bob?.token ?? ''))).toBe('TOKEN_EXPIRED');
  expect(await codeOf(() => finishRecovery(project, begun.id))).toBe('PROPOSAL_EXPIRED');
  const again = await beginRecovery(project, 'bob', sha256Hex('next token of bob'));
  project.moveClock(recoveryDelayHours * hourMs + 1);
  await finishRecovery(project, again.id);
  expect((await authenticateOperator(project.ctx, 'next token of bob')).name).toBe('bob');
});

it('does nothing when an administrator who is left objects', async () => {
  const begun = await beginRecovery(project, 'mallory', sha256Hex('token of mallory'));
  await withdrawOperatorChange(project, begun.id, 'operator:alice');
  project.moveClock(recoveryDelayHours * hourMs + 1);
  expect(await codeOf(() => finishRecovery(project, begun.id))).toBe('STATE');
  expect(await names()).not.toContain('mallory');
});
