import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url } from '../../../src/bytes.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { commitUnit } from '../../../src/services/production/unitEnd.ts';
import { sweepUnits } from '../../../src/services/production/unitExpiry.ts';
import { covers } from '../../support/covers.ts';
import { watchWrites } from '../../support/watchedStore.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from './factory.ts';
import { openPlant, type Plant } from './plant.ts';

/** The store loses its power after so many commits: every commit before is durable, that one and all later ones never happen. */
let commitsLeft = Number.POSITIVE_INFINITY;

const failing = (ctx: Context): Context => ({
  ...ctx,
  store: watchWrites(ctx.store, () => {
    if (commitsLeft === 0) throw new Error('power cut');
    commitsLeft--;
  }),
});

let plant: Plant;
let builder: TestProgrammer;
beforeAll(async () => {
  plant = await openPlant(failing);
  await defineProduct(plant, 'meter');
  builder = await activeProgrammer(plant);
  await builder.begin(await releasedJob(plant, 'meter', { plannedCount: 50, scrapAllowance: 20 }), 20, 20);
});
afterAll(() => plant.close());

/** Repeats a request, which gets one commit further each time. @returns its answer and how often the power went */
async function throughCuts(request: () => Promise<unknown>): Promise<{ answer: unknown; cuts: number }> {
  for (let cuts = 0; ; cuts++) {
    commitsLeft = cuts === 0 ? 0 : 1;
    try {
      const answer = await request();
      return { answer, cuts };
    } catch (error) {
      if (!String(error).includes('INTERNAL') || cuts > 20) throw error;
    } finally {
      commitsLeft = Number.POSITIVE_INFINITY;
    }
  }
}

const types = async (stream: string) => (await plant.ctx.store.readStream(stream)).map(event => event.type);
const unitStory = async (chip: Chip) => ({
  device: await types(`device-${chip.party.uid}`),
  allotment: (await plant.ctx.store.readStream(`allotment-${builder.jobId}-${builder.uid}`))
    .filter(event => event.data.uid === chip.party.uid)
    .map(event => event.type),
  grant: await types(`grant-${chip.grantId}`),
});

describe('power cuts between any two commits', () => {
  it('lead to the same unit as no power cut: exactly one grant, certificate, key and commit', async () => {
    covers('T33');
    const plain = new Chip();
    await builder.build(plain);
    const chip = new Chip();
    const cuts: Record<string, number> = {};
    const reservation = await builder.reserveRequest(chip.party.uid);
    const reserved = await throughCuts(() => builder.ask('units', reservation));
    chip.use(reserved.answer);
    cuts.reserve = reserved.cuts;
    expect(await builder.ask('units', reservation)).toEqual(reserved.answer);
    builder.acknowledged = builder.records.length;
    for (const [name, step] of Object.entries(builder.steps(chip))) {
      const done = await throughCuts(step);
      cuts[name] = done.cuts;
      expect(await step()).toEqual(done.answer);
    }
    const commit = await builder.commitRequest(chip);
    const committed = await throughCuts(() => builder.ask(`units/${chip.grantId}/commit`, commit));
    cuts.commit = committed.cuts;
    builder.acknowledged = builder.records.length;
    // One wait for the disk per answer: the certificate is stored with its intent.
    expect(Object.values(cuts)).toHaveLength(6);
    expect(Object.entries(cuts).filter(([, count]) => count !== 1)).toEqual([]);
    expect(committed.answer).toEqual({ committed: 2, remaining: 18 });
    expect(await unitStory(chip)).toEqual(await unitStory(plain));
  });

  it('void a unit once', async () => {
    const chip = new Chip();
    await builder.build(chip, 'application');
    const request = await builder.voidRequest(chip, true);
    const { cuts } = await throughCuts(() => builder.ask(`units/${chip.grantId}/void`, request));
    builder.acknowledged = builder.records.length;
    expect(cuts).toBeGreaterThan(1);
    const { device, allotment } = await unitStory(chip);
    expect(allotment).toEqual(['UnitReserved', 'UnitVoided']);
    expect(device.slice(-2)).toEqual(['DeviceScrapped', 'CertificateRevoked']);
  });

  it('share out, export and import once', async () => {
    const other = await activeProgrammer(plant);
    const share = { programmer: other.uid, count: 3 };
    await throughCuts(() => plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/allotments`, share));
    const path = `/v1/jobs/${builder.jobId}/allotments/${other.uid}/export`;
    await throughCuts(() => plant.ask('pia', 'POST', path));
    const file = (await plant.call('pia', 'POST', path)).bytes;
    other.payload = await other.open(file);
    await other.append(other.entry('import'));
    const notice = await other.notice(file);
    await throughCuts(() => other.ask('imports', notice));
    expect(await types(`allotment-${builder.jobId}-${other.uid}`)).toEqual([
      'AllotmentOpened',
      'PackageExported',
      'PackageImported',
      'LedgerSegmentAccepted',
    ]);
  });

  it('are settled by the sweep when nobody repeats the request', async () => {
    const [committed, voided] = [new Chip(), new Chip()];
    await builder.build(voided, 'application');
    const voiding = await builder.voidRequest(voided, false);
    commitsLeft = 1;
    expect(await builder.code(`units/${voided.grantId}/void`, voiding)).toBe('INTERNAL');
    commitsLeft = Number.POSITIVE_INFINITY;
    await builder.build(committed, 'commit');
    const commit = await builder.commitRequest(committed);
    // Without a commit for the whole answer, as a server of an earlier version stored it.
    commitsLeft = 1;
    const proof = { receipt: fromBase64url(commit.receipt), ledger: commit.ledger.map(record => fromBase64url(record)) };
    const parts = { ctx: plant.ctx, alarms: plant.services.alarms };
    await expect(commitUnit(parts, builder.uid, committed.grantId, proof, 'system:test')).rejects.toThrow('power cut');
    commitsLeft = Number.POSITIVE_INFINITY;
    expect(await types(`device-${committed.party.uid}`)).not.toContain('FirmwareInstalled');
    plant.moveClock(2 * 60_000);
    expect(await sweepUnits(plant.ctx)).toBe(2);
    expect((await types(`device-${committed.party.uid}`)).at(-1)).toBe('ProvisioningCompleted');
    expect((await types(`device-${voided.party.uid}`)).slice(-2)).toEqual(['DeviceScrapped', 'CertificateRevoked']);
    expect(await sweepUnits(plant.ctx)).toBe(0);
  });

  it('give a chip a new generation even when the void was cut off (I3)', async () => {
    covers('I3');
    const chip = new Chip();
    await builder.build(chip, 'bootloader');
    const voiding = await builder.voidRequest(chip, false);
    commitsLeft = 1;
    expect(await builder.code(`units/${chip.grantId}/void`, voiding)).toBe('INTERNAL');
    commitsLeft = Number.POSITIVE_INFINITY;
    const again = new Chip(chip.party);
    await builder.build(again);
    const minted = (await plant.ctx.store.readStream(`device-${chip.party.uid}`)).filter(event => event.type === 'DeviceMinted');
    expect(minted.map(event => event.data.generation)).toEqual([1, 2]);
  });
});
