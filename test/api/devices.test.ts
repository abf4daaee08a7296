import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { eventually, type Fleet, people, seedFleet } from '../gateway/fieldKit.ts';
import { codeOf } from '../pki/support.ts';
import { covers } from '../support/covers.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** The people's endpoints for the fleet, over TLS. */

const colleagues = { pia: 'productionPlanner', aldo: 'auditor', rita: 'releaseManager' } as const;

let server: TestServer;
let alice: HttpClient;
let fleet: Fleet;
const tokens = new Map<string, string>();
const token = (name: string): HttpClient => people(server, tokens.get(name));

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 5);
    for (const [name, role] of Object.entries(colleagues)) tokens.set(name, await addOperator(ctx, name, [role], 'operator:alice'));
  });
  alice = people(server);
});
afterAll(async () => {
  alice.close();
  await server.close();
});

type Page = { devices: { uid: string; status: string; version: string }[]; next?: string };

it('lists the fleet by UID in pages, by line and state (R83)', async () => {
  covers('R83');
  const uids = fleet.units.map(({ uid }) => uid).sort();
  const first = await alice.json<Page>('GET', '/v1/devices?limit=3&line=meter');
  const second = await alice.json<Page>('GET', `/v1/devices?limit=3&cursor=${first.next}`);
  expect([...first.devices, ...second.devices].map(({ uid }) => uid)).toEqual(uids);
  expect(second.next).toBeUndefined();
  expect(first.devices[0]).toMatchObject({ status: 'STOCK', version: '1.0.0', connected: false });
  expect((await alice.json<Page>('GET', '/v1/devices?status=REVOKED')).devices).toEqual([]);
  expect((await alice.json<Page>('GET', '/v1/devices?line=lamp')).devices).toEqual([]);
});

it('shows the history of a device with positions and hashes', async () => {
  const { uid } = fleet.units[0]!;
  const { events } = await alice.json<{ events: Record<string, unknown>[] }>('GET', `/v1/devices/${uid}/events`);
  expect(events[0]).toMatchObject({
    type: 'DeviceMinted',
    revision: 0,
    stream: `device-${uid}`,
    hash: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(events.map(({ revision }) => revision)).toEqual(events.map((_, i) => i));
});

it('holds a device in quarantine until a person releases it', async () => {
  const { uid } = fleet.units[1]!;
  const path = `/v1/devices/${uid}`;
  expect(await alice.json('POST', `${path}/quarantine`, { reason: 'odd' })).toMatchObject({ status: 'QUARANTINED' });
  expect(await alice.json('POST', `${path}/release`, { reason: 'fine' })).toMatchObject({ status: 'STOCK' });
  expect(await codeOf(() => alice.json('POST', `${path}/release`, { reason: 'again' }))).toBe('DEVICE_STATE');
  expect(await codeOf(() => alice.json('POST', `${path}/quarantine`, {}))).toBe('BAD_REQUEST');
});

it('says that a device which is not connected cannot be attested', async () => {
  expect(await codeOf(() => alice.json('POST', `/v1/devices/${fleet.units[0]!.uid}/attest`, {}))).toBe('DEVICE_UNREACHABLE');
});

it('says what is missing when no gateway may attest a device', async () => {
  const asked = alice.json('POST', `/v1/devices/${fleet.units[0]!.uid}/attest`, { via: 'gateway' });
  await expect(asked).rejects.toThrow('attach the device (nusec gateway attach)');
});

it('lets each role do its part and no more', async () => {
  const [planner, auditor, manager] = [token('pia'), token('aldo'), token('rita')];
  const { uid } = fleet.units[2]!;
  for (const action of ['attest', 'revoke', 'decommission', 'quarantine', 'release', 'suspend', 'resume'])
    expect(await codeOf(() => planner.json('POST', `/v1/devices/${uid}/${action}`, { reason: 'x' }))).toBe('FORBIDDEN');
  expect(await codeOf(() => planner.json('GET', '/v1/events'))).toBe('FORBIDDEN');
  expect(await codeOf(() => planner.json('POST', '/v1/rollouts', { releaseId: fleet.next.releaseId }))).toBe('FORBIDDEN');
  expect(await codeOf(() => manager.json('POST', '/v1/gateways', { id: 'g' }))).toBe('FORBIDDEN');
  expect((await planner.json<Page>('GET', '/v1/devices')).devices).toHaveLength(5);
  const log = await auditor.json<{ events: { position: number }[]; head: number }>('GET', '/v1/events?after=2&limit=5');
  expect(log.events.map(({ position }) => position)).toEqual([3, 4, 5, 6, 7]);
  expect(log.head).toBeGreaterThan(7);
  // A place of another log, or from before a restore: an empty page would pass over what comes.
  for (const list of ['events', 'alarms', 'log/entries'])
    expect([list, await codeOf(() => auditor.json('GET', `/v1/${list}?after=${log.head + 1_000_000}`))]).toEqual([list, 'BAD_REQUEST']);
  for (const http of [planner, auditor, manager]) http.close();
});

it('rolls out to a share of the line and goes on when a person says so', async () => {
  const bob = people(server, server.bob);
  type View = { rolloutId: string; status: string; devices: number; counts: Record<string, number>; groups: number };
  const plan = await alice.json<View>('POST', '/v1/rollouts', { releaseId: fleet.next.releaseId, groups: [40, 60] });
  expect(plan).toMatchObject({ status: 'PLANNED', groups: 2, devices: 5, groupCounts: [{ planned: 2 }, { planned: 3 }] });
  const path = `/v1/rollouts/${plan.rolloutId}`;
  await bob.json('POST', `${path}/approve`, {});
  await alice.json('POST', `${path}/start`, {});
  await eventually(async () => (await alice.json<View>('GET', path)).counts.offered === 2);
  const held = await alice.json('POST', `${path}/pause`, { reason: 'wait' });
  expect(held).toMatchObject({ status: 'PAUSED', devices: 2, groupCounts: [{ offered: 2 }, {}], progress: [{ group: 1 }, { group: 1 }] });
  expect(await alice.json('POST', `${path}/resume`, {})).toMatchObject({ status: 'RUNNING' });
  expect(await alice.json('POST', `${path}/abort`, { reason: 'enough' })).toMatchObject({ status: 'ABORTED' });
  expect(await codeOf(() => alice.json('POST', `${path}/start`, {}))).toBe('STATE');
  const { rollouts } = await alice.json<{ rollouts: View[] }>('GET', '/v1/rollouts');
  expect(rollouts).toContainEqual(expect.objectContaining({ rolloutId: plan.rolloutId, status: 'ABORTED' }));
  bob.close();
});

it('keeps gateways and their devices', async () => {
  const { uid } = fleet.units[3]!;
  expect(await alice.json('POST', '/v1/gateways', { id: 'hall-1', name: 'Hall 1' })).toMatchObject({ status: 'REGISTERED', devices: [] });
  expect(await alice.json('POST', '/v1/gateways/hall-1/devices', { uid })).toMatchObject({ devices: [uid] });
  expect(await codeOf(() => alice.json('POST', '/v1/gateways/hall-1/devices', { uid: '00'.repeat(16) }))).toBe('NOT_FOUND');
  expect(await alice.json('GET', `/v1/devices/${uid}`)).toMatchObject({ gateways: ['hall-1'] });
  const behind = (id: string) => alice.json<{ devices: { uid: string; gateways: string[] }[] }>('GET', `/v1/devices?gateway=${id}`);
  expect((await behind('hall-1')).devices).toEqual([expect.objectContaining({ uid, gateways: ['hall-1'] })]);
  expect((await behind('hall-2')).devices).toEqual([]);
  expect(await alice.json('DELETE', `/v1/gateways/hall-1/devices/${uid}`)).toMatchObject({ devices: [] });
  expect(await alice.json('GET', `/v1/devices/${uid}`)).toMatchObject({ gateways: [] });
  expect(await codeOf(() => alice.json('POST', '/v1/gateways/hall-2/suspend', { reason: 'x' }))).toBe('NOT_FOUND');
});
