import { afterAll, beforeAll, expect, it } from 'vitest';
import { alarmQueries } from '../../../src/projections/alarms.ts';
import { attachSbom, wantedComponent, whereIs } from '../../../src/services/firmware/components.ts';
import { planRollout } from '../../../src/services/firmware/rolloutPlan.ts';
import {
  judgeVulnerability,
  openVulnerability,
  reportVulnerability,
  showVulnerability,
} from '../../../src/services/firmware/vulnerabilities.ts';
import { startVulnerabilityWatch } from '../../../src/services/firmware/vulnerabilityWatch.ts';
import { eventually } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { cycloneDx, fileOf, osv, spdx } from '../../sbom/samples.ts';
import { type FieldBench, openField } from '../field/fieldBench.ts';

/** From a bill of materials to the devices that run a component, and a case that ends with the last of them. */

const by = 'operator:rita';
const cve = 'CVE-2026-1';
let bench: FieldBench;
beforeAll(async () => {
  bench = await openField(3);
});
afterAll(() => bench.close());

const where = (component: string) => whereIs(bench.ctx, [wantedComponent(component)], { limit: 10 });

it('finds releases, lines and devices by a component of the image they last proved', async () => {
  const { ctx, fleet } = bench;
  const { releaseId } = fleet.app;
  expect(await where('openssl')).toMatchObject({ releases: [], devices: [], deviceCount: 0, releasesWithoutSbom: 3 });
  const old = [
    { name: 'openssl', version: '3.0.1', purl: 'pkg:generic/openssl@3.0.1' },
    { name: 'lwip', version: '2.1.3' },
  ];
  await attachSbom(ctx, releaseId, fileOf(cycloneDx(old)), by);
  expect(await where('openssl@3.0.1')).toMatchObject({
    releases: [{ releaseId, version: '1.0.0', devices: 3, components: [old[0]] }],
    lines: ['meter'],
    deviceCount: 3,
    releasesWithoutSbom: 2,
    devices: fleet.units.map(({ uid }) => ({ uid, releaseId })).toSorted((a, b) => (a.uid < b.uid ? -1 : 1)),
  });
  expect((await where('pkg:generic/OpenSSL@3.0.1')).deviceCount).toBe(3);
  expect((await where('openssl@3.0.2')).deviceCount).toBe(0);
  expect(await codeOf(() => where('pkg:'))).toBe('BAD_REQUEST');
});

it('finds what only the bootloader contains', async () => {
  const { ctx, fleet } = bench;
  await attachSbom(ctx, fleet.bl2.releaseId, fileOf(spdx([{ name: 'mcuboot', version: '2.1.0' }])), by);
  expect(await where('mcuboot@2.1.0')).toMatchObject({ deviceCount: 3, releases: [{ image: 'bl2', devices: 3 }] });
});

it('takes a newer bill of materials in the place of the older one', async () => {
  const { ctx, fleet } = bench;
  await attachSbom(ctx, fleet.bl2.releaseId, fileOf(spdx([{ name: 'mcuboot', version: '2.1.1' }])), by);
  expect((await where('mcuboot@2.1.0')).releases).toEqual([]);
  expect((await where('mcuboot@2.1.1')).deviceCount).toBe(3);
});

it('opens a case with a clock, and closes it when the last affected device has proven a fixed release', async () => {
  const { ctx, fleet } = bench;
  const watch = startVulnerabilityWatch(ctx);
  try {
    expect(await openVulnerability(ctx, fileOf(osv(cve, 'openssl', '3.0.7')), by)).toBe(cve);
    const { awareAt, ...view } = await showVulnerability(ctx, cve);
    expect(view).toMatchObject({ status: 'OPEN', devices: 3, lines: ['meter'], releases: [{ releaseId: fleet.app.releaseId }] });
    const hours = view.reports.map(({ dueAt }) => (Date.parse(dueAt) - Date.parse(awareAt)) / 3_600_000);
    expect(hours).toEqual([24, 72, 14 * 24]);

    await attachSbom(ctx, fleet.next.releaseId, fileOf(cycloneDx([{ name: 'openssl', version: '3.0.7' }])), by);
    await eventually(async () => (await showVulnerability(ctx, cve)).fix?.releaseId === fleet.next.releaseId);
    const id = await planRollout(ctx, { releaseId: fleet.next.releaseId, securityUpdate: true }, by);
    await bench.field.rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
    await bench.field.rollouts.command(id, { type: 'StartRollout', by }, by);
    for (const unit of fleet.units) {
      const device = bench.plugIn(unit);
      await hello(unit);
      await eventually(() => device.jobs.length > 0);
      unit.firmware = fleet.next;
      await hello(unit);
      await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareUpgraded'));
    }
    await eventually(async () => (await showVulnerability(ctx, cve)).status === 'CLOSED');
    expect(await showVulnerability(ctx, cve)).toMatchObject({ devices: 0, unknownDevices: 0 });
    await eventually(() => isClosed('VulnerabilityReachedDevices'));
  } finally {
    await watch.close();
  }
});

/** Whether the alarm of this code was raised and is over. */
async function isClosed(code: string): Promise<boolean> {
  const [raised] = await alarmQueries(bench.ctx.reads.db).cases({ code, limit: 2, now: bench.ctx.clock().toISOString() });
  return raised?.acknowledged_by === 'system:alarms' && raised.last_position <= raised.acknowledged_position;
}

const hello = ({ uid, objId, firmware: { version, securityCounter, imageHash } }: FieldBench['fleet']['units'][number]) =>
  bench.field.hello(uid, { version, securityCounter, imageHash, imageState: 'confirmed', objId }, 'mqtt');

it('says that a report is due, and that it was missed, until it is reported; what was reported is quiet', async () => {
  const { ctx } = bench;
  await reportVulnerability(ctx, cve, 'earlyWarning', 'ENISA 4711', by);
  bench.moveTime(49 * 3_600_000);
  await judgeVulnerability(ctx, cve);
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['alarms'] });
  expect(await isClosed('VulnerabilityReportDue')).toBe(false);
  bench.moveTime(24 * 3_600_000);
  await judgeVulnerability(ctx, cve);
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['alarms'] });
  const alarms = await alarmQueries(ctx.reads.db).page({ after: 0, limit: 100, subject: `vulnerability-${cve}` });
  const missed = alarms.filter(({ code }) => code === 'VulnerabilityReportMissed').map(({ detail }) => detail.split(' ')[0]);
  expect(missed).toEqual(['notification']);
  await eventually(() => isClosed('VulnerabilityReportDue'));
  expect(await isClosed('VulnerabilityReportMissed')).toBe(false);
  await reportVulnerability(ctx, cve, 'notification', 'ENISA 4712', by);
  await eventually(() => isClosed('VulnerabilityReportMissed'));
});
