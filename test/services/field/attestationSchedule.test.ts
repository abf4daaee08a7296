import { afterAll, beforeAll, expect, it } from 'vitest';
import { createScheduleView } from '../../../src/services/field/attestationLag.ts';
import { attestationProgress, attestDue, newWalk } from '../../../src/services/field/attestationSchedule.ts';
import { attestAll, lineOf, setAttestationPolicy } from '../../../src/services/firmware/lines.ts';
import { line, type Unit } from '../../gateway/fieldKit.ts';
import { type FieldBench, openField } from './fieldBench.ts';
import { openGateway } from './gatewayBench.ts';

/** The schedule of a line: who is due, in what budget, after a restart, and what is said when it is late. */

const hourMs = 3_600_000;
const devices = 6;
let bench: FieldBench;
const by = 'operator:olga';
let walk = newWalk();
const run = async (): Promise<void> => {
  await bench.ctx.reads.waitFor(await bench.ctx.store.head(), { projections: ['devices', 'releases'] });
  const { ctx, alarms, attestations, field, channel } = bench;
  const { attestation, attachments } = field;
  await attestDue({ ctx, alarms, attestations, attestation, attachments, channel: channel.channel }, walk);
};
const attested = (): number => bench.fleet.units.reduce((sum, { uid }) => sum + bench.attestations.page(uid, { limit: 100 }).length, 0);
const progress = async () => attestationProgress(bench.ctx, bench.attestations, await lineOf(bench.ctx, line));

beforeAll(async () => {
  bench = await openField(devices);
  for (const unit of bench.fleet.units) {
    bench.plugIn(unit);
    await bench.field.attestation.attest(unit.uid);
  }
});
afterAll(() => bench.close());

it('asks nobody without a schedule', async () => {
  await run();
  expect(attested()).toBe(devices);
  expect(await progress()).toMatchObject({ left: 0, overdue: false });
});

it('asks each device once a period, at most the budget of a minute at a time, and continues after a restart', async () => {
  await setAttestationPolicy(bench.ctx, line, { everyHours: 24, perMinute: 4 }, by);
  await run();
  expect(attested()).toBe(devices);
  bench.moveTime(27 * hourMs);
  expect(await progress()).toMatchObject({ inService: devices, attested: 0, left: devices });
  await run();
  expect(attested()).toBe(devices + 4);
  await bench.restart();
  walk = newWalk();
  await run();
  expect(attested()).toBe(2 * devices);
  await run();
  expect(attested()).toBe(2 * devices);
  expect(await progress()).toMatchObject({ attested: devices, left: 0, results: { passed: devices, failed: 0 } });
});

it('has everybody asked once more when a person wants it', async () => {
  bench.moveTime(1000);
  await attestAll(bench.ctx, line, by);
  expect(await progress()).toMatchObject({ left: devices });
  await run();
  await run();
  expect(attested()).toBe(3 * devices);
  expect(await progress()).toMatchObject({ left: 0 });
});

it('leaves the others their turn when devices stay silent, and asks those again after a while', async () => {
  const [first, second] = [...bench.fleet.units].sort((a, b) => (a.uid < b.uid ? -1 : 1)) as [Unit, Unit];
  const silent = [first, second].map(({ uid }) => bench.devices.get(uid)!);
  for (const device of silent) device.loses = () => true;
  await setAttestationPolicy(bench.ctx, line, { everyHours: 24, perMinute: 2 }, by);
  bench.moveTime(1000);
  await attestAll(bench.ctx, line, by);
  const before = attested();
  for (let minute = 0; minute < 4; minute += 1) await run();
  expect(attested() - before).toBe(devices - 2);
  for (const device of silent) delete device.loses;
  const heard = silent.map(device => device.heard);
  await run();
  expect(silent.map(device => device.heard)).toEqual(heard);
  bench.moveTime(15 * 60_000);
  for (let minute = 0; minute < 2; minute += 1) await run();
  expect(await progress()).toMatchObject({ attested: devices, left: 0 });
});

it('does not fill the log with devices that do not speak what the line asks for', async () => {
  const [{ uid }] = bench.fleet.units as [Unit];
  bench.devices.get(uid)!.manners.instead = request => (request[1] === 0x84 ? Uint8Array.of(0x10, 0x04, 0, 0, 0, 1, 0, 0x11) : undefined);
  bench.moveTime(1000);
  await attestAll(bench.ctx, line, by);
  const rows = () => bench.attestations.page(uid, { limit: 100 }).filter(({ result }) => result === 'unsupported').length;
  for (let minute = 0; minute < 8; minute += 1) await run();
  expect(rows()).toBe(1);
  bench.moveTime(1000);
  await attestAll(bench.ctx, line, by);
  for (let minute = 0; minute < 4; minute += 1) await run();
  expect(rows()).toBe(2);
  delete bench.devices.get(uid)!.manners.instead;
  bench.moveTime(15 * 60_000);
  for (let minute = 0; minute < 4; minute += 1) await run();
  expect(await progress()).toMatchObject({ left: 0 });
});

it('asks a device without a connection of its own through its gateway', async () => {
  const [unit] = bench.fleet.units as [Unit];
  bench.devices.delete(unit.uid);
  await openGateway(bench, 'hall', unit);
  bench.moveTime(1000);
  await attestAll(bench.ctx, line, by);
  for (let minute = 0; minute < 4; minute += 1) await run();
  expect(bench.attestations.page(unit.uid, { limit: 1 })).toMatchObject([{ via: 'gateway:hall', result: 'passed' }]);
  expect(await progress()).toMatchObject({ left: 0 });
  bench.gateways.delete('hall');
  bench.plugIn(unit);
  await setAttestationPolicy(bench.ctx, line, { everyHours: 24, perMinute: 4 }, by);
});

it('counts how attestations ended, also those that nobody answered', async () => {
  const countOf = (end: string) => bench.field.attestation.counts().find(count => count.line === line && count.end === end)?.count ?? 0;
  const [passed, unanswered] = [countOf('passed'), countOf('unanswered')];
  const [{ uid }] = bench.fleet.units as [Unit];
  const device = bench.devices.get(uid)!;
  await bench.field.attestation.attest(uid);
  device.loses = () => true;
  await expect(bench.field.attestation.attest(uid)).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
  delete device.loses;
  expect([countOf('passed') - passed, countOf('unanswered') - unanswered, countOf('failed')]).toEqual([1, 1, 0]);
});

it('waits for devices that are away, and says when a line is late', async () => {
  bench.devices.clear();
  bench.moveTime(72 * hourMs);
  const before = attested();
  await run();
  expect(attested()).toBe(before);
  expect(await bench.codesOfAlarms()).toContain('ATTESTATION_OVERDUE');
  expect(await progress()).toMatchObject({ left: devices, overdueDevices: devices, overdue: true });
  expect(await createScheduleView(bench.ctx, bench.attestations)()).toMatchObject([{ line, everyHours: 24, overdue: true }]);
});
