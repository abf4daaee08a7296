import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addOperator } from '../../src/services/administration/operators.ts';
import { newUid } from '../services/parties.ts';
import { mint } from '../services/project.ts';
import { type CommandAt, commandAt } from '../support/commandAt.ts';
import { covers } from '../support/covers.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** `nusec operator` as two administrators and the person who comes use it. */

let server: TestServer;
let run: CommandAt;
let [olga, otto] = ['', ''];
const chip = newUid();
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await mint(ctx, chip, newUid());
    olga = await addOperator(ctx, 'olga', ['securityOfficer'], 'operator:alice');
    otto = await addOperator(ctx, 'otto', ['securityOfficer'], 'operator:alice');
  });
  run = commandAt(server);
});
afterAll(() => server?.close());

const nusec = (token: string, ...args: readonly string[]) => run(token, 'operator', ...args);
const json = async (token: string, ...args: readonly string[]) => JSON.parse((await nusec(token, ...args, '--json')).text);

describe('nusec operator', () => {
  it('brings a person whose token nobody else has', async () => {
    const file = join(server.dataDir, 'carol.token');
    const { tokenSha256 } = JSON.parse((await nusec('', 'new-token', file, '--json')).text);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { id } = await json(server.alice, 'add', 'carol', '--role', 'productionPlanner', '--token-sha256', tokenSha256);
    const alone = await nusec(server.alice, 'change', 'approve', id);
    expect([alone.status, alone.text]).toEqual([1, expect.stringContaining('FOUR_EYES_REQUIRED')]);
    const other = await nusec(server.bob, 'change', 'approve', id, '--token-sha256', '0'.repeat(64));
    expect(other.text).toContain('CONFLICT');
    expect(await json(server.bob, 'change', 'approve', id, '--token-sha256', tokenSha256)).toMatchObject({ status: 'DONE' });
    expect((await nusec(server.alice, 'list')).text).toMatch(/carol +productionPlanner/);
    const carol = readFileSync(file, 'utf8');
    const next = join(server.dataDir, 'carol-2.token');
    expect((await nusec(carol, 'rotate', next)).status).toBe(0);
    expect((await nusec(carol, 'rotate', `${next}-3`)).text).toContain('UNAUTHENTICATED');
  });

  it('adds and removes one who approves nothing alone, with a scope', async () => {
    const lino = await json(server.alice, 'add', 'lino', '--role', 'lineOperator', '--site', 'Example CM');
    expect(lino).toMatchObject({ name: 'lino', token: expect.any(String) });
    expect((await nusec(server.alice, 'list')).text).toMatch(/lino +lineOperator +sites Example CM/);
    await nusec(server.alice, 'roles', 'lino', '--role', 'auditor');
    expect((await nusec(server.alice, 'list')).text).toMatch(/lino +auditor +sites Example CM/);
    const kept = await json(server.alice, 'roles', 'lino', '--role', 'releaseManager');
    expect((await nusec(server.bob, 'change', 'list')).text).toContain('setRoles lino releaseManager, only sites Example CM');
    await nusec(server.alice, 'change', 'withdraw', kept.id);
    expect((await nusec(server.alice, 'roles', 'lino', '--role', 'auditor', '--everywhere', '--site', 'Other')).status).toBe(2);
    const dropped = await nusec(server.alice, 'roles', 'lino', '--role', 'releaseManager', '--everywhere');
    expect(dropped.text).toContain('setRoles lino releaseManager, everywhere');
    await nusec(server.alice, 'change', 'withdraw', /[0-9a-f]{32}/.exec(dropped.text)?.[0] ?? '');
    expect((await nusec(server.alice, 'remove', 'lino')).text).toContain('--yes');
    expect((await nusec(server.alice, 'remove', 'lino', '--yes')).status).toBe(0);
    expect((await nusec(server.alice, 'add', 'x', '--role', 'king')).status).toBe(2);
  });

  it('tells an officer alone how to ask for more, and lets another officer allow it (I16)', async () => {
    covers('I16');
    const alone = await run(olga, 'device', 'decommission', chip, '--without-receipt', '--reason', 'lost', '--yes');
    const hint = /nusec operator (allowance propose --effect decommissionWithoutReceipt --count 1)/.exec(alone.text)?.[1] ?? '';
    expect([alone.status, alone.text]).toEqual([1, expect.stringContaining('FOUR_EYES_REQUIRED')]);
    const { id } = await json(olga, ...hint.split(' '), '--note', 'lost in transport');
    expect((await nusec(otto, 'allowance', 'list')).text).toMatch(new RegExp(`${id} +operator:olga +decommissionWithoutReceipt +0/1`));
    expect((await nusec(olga, 'allowance', 'approve', 'olga', id)).text).toContain('FOUR_EYES_REQUIRED');
    expect((await nusec(otto, 'allowance', 'approve', 'olga', id)).text).toContain('operator:otto');
    const agreed = await run(olga, 'device', 'decommission', chip, '--without-receipt', '--reason', 'lost', '--yes');
    // The unit is still in production: the right is there, the state is not, and what was refused uses nothing up.
    expect(agreed.text).toContain('DEVICE_STATE');
    expect((await nusec(otto, 'allowance', 'list', 'olga')).text).toMatch(/0\/1/);
  });

  it('recovers on the server’s own machine, seen and withdrawn by an administrator', async () => {
    const begun = JSON.parse(
      (await nusec('', 'recover', 'begin', 'dora', '--data', server.dataDir, '--token-sha256', 'ab'.repeat(32), '--json')).text,
    );
    expect(begun).toMatchObject({ status: 'PROPOSED', proposedBy: 'system:recovery' });
    expect((await nusec('', 'recover', 'finish', begun.id, '--data', server.dataDir)).text).toContain('STATE');
    expect((await nusec(server.bob, 'change', 'list')).text).toContain(begun.id);
    expect((await nusec(server.bob, 'change', 'approve', begun.id)).text).toContain('FOUR_EYES_REQUIRED');
    expect((await nusec(server.bob, 'change', 'withdraw', begun.id)).text).toContain('WITHDRAWN');
  });
});
