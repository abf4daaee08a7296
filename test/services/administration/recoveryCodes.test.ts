import { afterAll, beforeAll, expect, it } from 'vitest';
import { sha256Hex } from '../../../src/digest.ts';
import { recoveryDelayHours } from '../../../src/domain/recoveryCodes.ts';
import { authenticateOperator } from '../../../src/services/administration/operators.ts';
import { makeRecoveryCodes, type NewToken, recoverByCodes } from '../../../src/services/administration/recoveryCodes.ts';
import { hourMs } from '../../../src/times.ts';
import { codeOf } from '../../pki/support.ts';
import { openProject, type Project } from '../project.ts';

/** All tokens have expired: two of three recovery codes, kept by different people, bring an administrator back. */

let project: Project;
let codes: readonly string[] = [];
beforeAll(async () => {
  project = await openProject();
  codes = await makeRecoveryCodes(project, false);
});
afterAll(() => project.close());

const use = (given: readonly string[], name = 'alice') =>
  codeOf(() => recoverByCodes(project, given, { name, tokenSha256: sha256Hex('next') }));

it('while two administrators have tokens that count, they are good for nothing', async () => {
  expect(codes).toHaveLength(3);
  expect(await use(codes)).toBe('STATE');
});

it('one code, one code twice and wrong ones are refused; two give a token, once, and everybody gets to know', async () => {
  project.moveClock(400 * 24 * hourMs);
  const [one = '', two = '', three = ''] = codes;
  for (const few of [[one], [one, one.toLowerCase()], [one, `${two.slice(0, -1)}?`], []]) expect(await use(few)).toBe('FORBIDDEN');
  expect(await use([one, two], 'nobody')).toBe('NOT_FOUND');
  await recoverByCodes(project, [three, one.toLowerCase().replaceAll('-', ' ')], { name: 'alice', tokenSha256: sha256Hex('next') });
  expect((await authenticateOperator(project.ctx, 'next')).roles).toEqual(['administrator']);
  expect(await use([one, two])).toBe('STATE');
  const alarms = (await project.eventsOf('AlarmRaised')).map(({ data }) => String(data.detail));
  expect(alarms).toContainEqual(expect.stringContaining('two recovery codes have given alice another token'));
});

it('the log has slow hashes and no code', async () => {
  const stored = JSON.stringify(await project.eventsOf('RecoveryCodesMade'));
  for (const code of codes) expect(stored).not.toContain(code);
  expect(stored).not.toContain(sha256Hex(codes[0] ?? ''));
});

it('new ones that the server’s machine makes wait for the eyes of the administrators', async () => {
  const next = await makeRecoveryCodes(project, true);
  expect(await use(next, 'bob')).toBe('STATE');
  project.moveClock(recoveryDelayHours * hourMs + 1);
  expect(await use(codes, 'bob')).toBe('FORBIDDEN');
  await recoverByCodes(project, next.slice(1), { name: 'bob', tokenSha256: sha256Hex('bob again') });
  expect((await authenticateOperator(project.ctx, 'bob again')).name).toBe('bob');
});

it('two codes are two pairs of eyes: two different administrators get their tokens by them, one person never gets both (I16)', async () => {
  project.moveClock(400 * 24 * hourMs);
  const next = await makeRecoveryCodes(project, false);
  const [alice, bob] = ['alice', 'bob'].map(name => ({ name, tokenSha256: sha256Hex(`${name} of both`) })) as [NewToken, NewToken];
  expect(await codeOf(() => recoverByCodes(project, next.slice(0, 2), alice, { ...alice, tokenSha256: bob.tokenSha256 }))).toBe(
    'FOUR_EYES_REQUIRED',
  );
  expect(await codeOf(() => recoverByCodes(project, next.slice(0, 1), alice, bob))).toBe('FORBIDDEN');
  expect(await codeOf(() => recoverByCodes(project, next, alice, { ...bob, name: 'nobody' }))).toBe('NOT_FOUND');
  await recoverByCodes(project, next.slice(0, 2), alice, bob);
  for (const name of ['alice', 'bob']) expect((await authenticateOperator(project.ctx, `${name} of both`)).name).toBe(name);
  expect(await codeOf(() => recoverByCodes(project, next.slice(1), alice, bob))).toBe('STATE');
});
