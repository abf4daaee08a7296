import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { programmerStream } from '../../src/domain/programmer.ts';
import { newEvent } from '../../src/eventstore/recorded.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { nowIso } from '../../src/services/base/context.ts';
import { registerGateway } from '../../src/services/field/gateways.ts';
import { registerProgrammer } from '../../src/services/production/programmers.ts';
import { type Fleet, people, seedFleet } from '../gateway/fieldKit.ts';
import { codeOf } from '../pki/support.ts';
import { startCommand } from '../support/command.ts';
import { covers } from '../support/covers.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** `?dryRun=true` changes nothing, and is refused as the change itself would be. */

type DryRun = { readonly dryRun: true; readonly events: readonly { readonly stream: string; readonly type: string }[] };
type Change = readonly ['POST' | 'DELETE', string, object?];

const nobody = '00112233445566778899aabbccddeeff';
const programmer = '4e4c3300000000000000000000000001';
let server: TestServer;
let fleet: Fleet;
let [alice, aldo]: HttpClient[] = [];

beforeAll(async () => {
  let token = '';
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 3);
    token = await addOperator(ctx, 'aldo', ['auditor'], 'operator:alice');
    await addOperator(ctx, 'rolf', ['releaseManager'], 'operator:alice');
    await addOperator(ctx, 'olaf', ['service'], 'operator:alice');
    await registerProgrammer(ctx, programmer, 'NuLink3', 'operator:alice');
    await registerGateway(ctx, 'hall-9', 'hall-9', 'operator:alice');
    const locked = newEvent('ProgrammerLocked', {}, { id: ctx.newId(), at: nowIso(ctx), by: 'operator:alice' });
    await ctx.store.append(programmerStream(programmer), 'any', [locked]);
  });
  [alice, aldo] = [people(server), people(server, token)];
});
afterAll(async () => {
  for (const client of [alice, aldo]) client?.close();
  await server?.close();
});

const to = (client: HttpClient | undefined, [method, path, body]: Change, query = '') =>
  client?.json<DryRun>(method, `${path}${query}`, body) as Promise<DryRun>;
/** What was done by people, and every alarm. */
const eventCount = async (): Promise<number> => {
  const { entries } = (await alice?.json<{ entries: readonly { by: string }[] }>(
    'GET',
    '/v1/log/entries?limit=500&by=operator:*&by=system:alarms',
  )) ?? {
    entries: [],
  };
  return entries.length;
};
const device = (index: number) => fleet.units[index]?.uid ?? '';

/** What is there, the type of the event that its change records first, and how the same is refused where there is no such thing. */
const changes: Readonly<Record<string, () => readonly [there: Change, type: string, missing: Change]>> = {
  'revoking a device': () => [
    ['POST', `/v1/devices/${device(0)}/revoke`, { reason: 'keyCompromise' }],
    'CertificateRevoked',
    ['POST', `/v1/devices/${nobody}/revoke`, { reason: 'keyCompromise' }],
  ],
  'decommissioning a device': () => [
    ['POST', `/v1/devices/${device(0)}/decommission`, { reason: 'old' }],
    'DeviceDecommissionOrdered',
    ['POST', `/v1/devices/${nobody}/decommission`, { reason: 'old' }],
  ],
  'withdrawing a release': () => [
    ['POST', `/v1/releases/${fleet.app.releaseId}/withdraw`, { reason: 'bug' }],
    'ReleaseWithdrawn',
    ['POST', `/v1/releases/${nobody}/withdraw`, { reason: 'bug' }],
  ],
  'a stolen programmer': () => [
    ['POST', `/v1/programmers/${programmer}/stolen`, {}],
    'ProgrammerReportedStolen',
    ['POST', `/v1/programmers/${nobody}/stolen`, {}],
  ],
  'revoking a gateway': () => [
    ['POST', '/v1/gateways/hall-9/revoke', { reason: 'stolen' }],
    'GatewayRevoked',
    ['POST', '/v1/gateways/nobody/revoke', { reason: 'stolen' }],
  ],
  'removing an operator': () => [['DELETE', '/v1/operators/olaf'], 'OperatorRemoved', ['DELETE', '/v1/operators/nobody']],
  'removing one who approves': () => [['DELETE', '/v1/operators/rolf'], 'OperatorChangeProposed', ['DELETE', '/v1/operators/nobody']],
};

describe.each(Object.keys(changes))('a dry run of %s', name => {
  it('says what would be recorded, and records nothing', async () => {
    covers('I16');
    const [there, type] = (changes[name] as () => readonly [Change, string, Change])();
    const before = await eventCount();
    const { events, dryRun } = await to(alice, there, '?dryRun=true');
    expect([dryRun, events[0]?.type]).toEqual([true, type]);
    expect(await eventCount()).toBe(before);
  });

  it('is refused as the change is', async () => {
    const [there, , missing] = (changes[name] as () => readonly [Change, string, Change])();
    for (const [client, change, code] of [
      [alice, missing, 'NOT_FOUND'],
      [aldo, there, 'FORBIDDEN'],
    ] as const) {
      expect(await codeOf(() => to(client, change, '?dryRun=true'))).toBe(code);
      expect(await codeOf(() => to(client, change))).toBe(code);
    }
  });
});

describe('a dry run', () => {
  it('of a fourth-eyes limit says that a second person is needed, without an alarm and without counting', async () => {
    covers('I16');
    const deed: Change = ['POST', `/v1/devices/${device(1)}/decommission`, { reason: 'lost', withoutReceipt: true }];
    const before = await eventCount();
    expect(await codeOf(() => to(alice, deed, '?dryRun=true'))).toBe('FOUR_EYES_REQUIRED');
    expect(await eventCount()).toBe(before);
  });

  it('of what is so already would record nothing', async () => {
    const revoke: Change = ['POST', `/v1/devices/${device(2)}/revoke`, { reason: 'keyCompromise' }];
    await to(alice, revoke);
    expect((await to(alice, revoke, '?dryRun=true')).events).toEqual([]);
  });

  it('is refused where a request has none', async () => {
    const tag: Change = ['POST', `/v1/devices/${device(1)}/tags`, { add: ['pilot'] }];
    expect(await codeOf(() => to(alice, tag, '?dryRun=true'))).toBe('BAD_REQUEST');
    const revoke: Change = ['POST', `/v1/devices/${device(1)}/revoke`, { reason: 'keyCompromise' }];
    expect(await codeOf(() => to(alice, revoke, '?dryRun=perhaps'))).toBe('BAD_REQUEST');
  });
});

describe('nusec … --dry-run', () => {
  const nusec = (...args: readonly string[]) =>
    startCommand(args, { NUSEC_SERVER: server.url, NUSEC_CA: join(server.dataDir, 'root.pem'), NUSEC_TOKEN: server.alice }).ended();

  it('says what would be done, or why not, in words and as JSON', async () => {
    writeFileSync(join(server.dataDir, 'root.pem'), server.rootPem);
    const revoke = ['device', 'revoke', device(1), '--reason', 'keyCompromise', '--dry-run'];
    const said = await nusec(...revoke);
    expect([said.status, said.err]).toEqual([0, '']);
    expect(said.out).toContain('are revoked (keyCompromise).\nIt would be recorded: CertificateRevoked in device-');
    expect(JSON.parse((await nusec(...revoke, '--json')).out)).toMatchObject({ dryRun: true, events: [{ type: 'CertificateRevoked' }] });
    const missing = await nusec('release', 'withdraw', nobody, '--reason', 'bug', '--dry-run', '--json');
    expect([missing.status, missing.out, JSON.parse(missing.err).error]).toEqual([1, '', 'NOT_FOUND']);
  });
});
