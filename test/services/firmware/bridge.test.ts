import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromHex, utf8 } from '../../../src/bytes.ts';
import { maxRefusalsPerWindow } from '../../../src/domain/allotment.ts';
import { isUpgradable } from '../../../src/domain/deviceUpgrade.ts';
import { programmerStream } from '../../../src/domain/programmer.ts';
import { newEvent } from '../../../src/eventstore/recorded.ts';
import { upgradeProofNonce } from '../../../src/production/upgradeProof.ts';
import { rolloutQueries } from '../../../src/projections/rollouts.ts';
import { nowIso } from '../../../src/services/base/context.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { offerIdOf, planRollout, rolloutOf } from '../../../src/services/firmware/rolloutPlan.ts';
import { registerProgrammer } from '../../../src/services/production/programmers.ts';
import { deviceInRepair } from '../../../src/services/production/repairs.ts';
import { encodeEvidence } from '../../../src/spdm/evidence.ts';
import { knownOffer } from '../../../src/spdm/policy.ts';
import { runAttestation } from '../../../src/spdm/requester/run.ts';
import { eventually, responderOf, type Unit } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type FieldBench, goodManners, openField } from '../field/fieldBench.ts';
import { openGateway } from '../field/gatewayBench.ts';
import { newUid } from '../parties.ts';

/** What a programmer that has no device on its wires can do to the devices of others, with nothing but their UIDs. */

let bench: FieldBench;
const liar = { kind: 'programmer', id: newUid(), serialHex: '01', certificateSha256: '', icaId: '', publicKey: new Uint8Array() } as const;
let used = 0;
const nextUnit = (): Unit => bench.fleet.units[used++] as Unit;

beforeAll(async () => {
  bench = await openField(8);
  const { ctx } = bench;
  await registerProgrammer(ctx, liar.id, 'NuLink3', 'operator:olga');
  const about = { id: ctx.newId(), at: nowIso(ctx), by: `programmer:${liar.id}` } as const;
  await ctx.store.append(programmerStream(liar.id), 'any', [newEvent('ProgrammerCheckedIn', {}, about)]);
});
afterAll(() => bench?.close());

async function roll(unit: Unit): Promise<string> {
  const { ctx, field, fleet } = bench;
  const id = await planRollout(ctx, { releaseId: fleet.next.releaseId, devices: [unit.uid] }, 'operator:rita');
  await field.rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await field.rollouts.command(id, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareOffered'));
  return id;
}

const hello = (unit: Unit) => {
  const { version, securityCounter, imageHash } = unit.firmware;
  return bench.field.hello(unit.uid, { version, securityCounter, imageHash, imageState: 'confirmed', objId: unit.objId }, 'mqtt');
};

/** Evidence of the device itself for this job. */
async function evidenceOf(unit: Unit, otaJobId: string): Promise<Uint8Array> {
  const responder = responderOf(unit, { ...goodManners(unit), measuredState: 'confirmed' });
  const wish = { ...knownOffer(), nonce: upgradeProofNonce(fromHex(otaJobId)), raw: true };
  const send = async (wire: Parameters<typeof responder.handle>[0]) => (await responder.handle(wire))!;
  return encodeEvidence(await runAttestation(wish, send));
}

describe('a programmer that is not at the device (T25, C1)', () => {
  it('ends no upgrade by what it says: the device that says hello is still to be upgraded (T22, RULE-18)', async () => {
    covers('T22', 'RULE-18');
    const unit = nextUnit();
    const rolloutId = await roll(unit);
    const jobId = offerIdOf(rolloutId, unit.uid);
    for (const status of ['downloading', 'written', 'testing'] as const) await bench.field.bridge.report(liar, unit.uid, jobId, { status });
    bench.plugIn(unit);
    await hello(unit);
    expect(await bench.typesOf(unit.uid)).not.toContain('UpgradeFailed');
    expect((await rolloutOf(bench.ctx, rolloutId)).status).toBe('RUNNING');
    const started = (await bench.ctx.store.readStream(`device-${unit.uid}`)).filter(({ type }) => type.startsWith('Upgrade'));
    expect(started.map(({ type, by }) => [type, by])).toEqual([['UpgradeAnnounced', `programmer:${liar.id}`]]);
  });

  it('moves nothing by what it says: the device waits as any other, and a better release is offered to it (C1)', async () => {
    const unit = nextUnit();
    const jobId = offerIdOf(await roll(unit), unit.uid);
    await bench.field.bridge.report(liar, unit.uid, jobId, { status: 'testing' });
    const state = await livingDevice(bench.ctx, unit.uid);
    expect([state.status, state.upgradePhase, isUpgradable(state)]).toEqual(['STOCK', undefined, true]);
    await bench.ctx.reads.waitFor(await bench.ctx.store.head());
    const rows = await rolloutQueries(bench.ctx.reads.db).devicesOf(String(state.offer?.rolloutId));
    expect(rows.map(({ status }) => status)).toEqual(['offered']);
  });

  it('brings no evidence for a job that never stood: who has it can show it again for ever (T20, T22)', async () => {
    covers('T20', 'T22');
    const unit = nextUnit();
    const before = await bench.typesOf(unit.uid);
    for (const jobId of [newUid(), newUid()])
      expect(await codeOf(async () => bench.field.bridge.prove(liar, unit.uid, jobId, await evidenceOf(unit, jobId)))).toBe('STATE');
    expect(await bench.typesOf(unit.uid)).toEqual(before);
  });

  it('brings evidence while a gateway is asked that waits for the same wire: neither waits for the other', async () => {
    const unit = nextUnit();
    const jobId = offerIdOf(await roll(unit), unit.uid);
    const proved = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    await openGateway(bench, 'hall', unit, async () => {
      asked.resolve();
      await proved.promise;
      return {};
    });
    const attested = bench.field.attestation.attest(unit.uid, { via: 'gateway' });
    await asked.promise;
    unit.firmware = bench.fleet.next;
    expect(await bench.field.bridge.prove(liar, unit.uid, jobId, await evidenceOf(unit, jobId))).toMatchObject({ result: 'passed' });
    proved.resolve();
    expect(await attested).toMatchObject({ result: 'passed', via: 'gateway' });
  });

  it('is named when it is a programmer and brings what the device has not signed for this job (T20)', async () => {
    covers('T20');
    const unit = nextUnit();
    const jobId = offerIdOf(await roll(unit), unit.uid);
    const before = await bench.typesOf(unit.uid);
    expect(await codeOf(async () => bench.field.bridge.prove(liar, unit.uid, jobId, await evidenceOf(unit, newUid())))).toBe(
      'ATTESTATION_FAILED',
    );
    expect(await bench.typesOf(unit.uid)).toEqual(before);
    const alarms = await bench.ctx.store.readStream(`alarm-programmer-${liar.id}`);
    expect(alarms.map(({ data }) => data.code)).toContain('PROGRAMMER_EVIDENCE');
  });

  it('is named when it is a gateway and brings what the device has not signed for this job; the device is as it was (T20)', async () => {
    covers('T20');
    const unit = nextUnit();
    const jobId = offerIdOf(await roll(unit), unit.uid);
    await openGateway(bench, 'bringer', unit);
    const before = await bench.typesOf(unit.uid);
    const gateway = { ...liar, kind: 'gateway', id: 'bringer' } as const;
    unit.firmware = bench.fleet.next;
    const good = await evidenceOf(unit, jobId);
    for (const bytes of [utf8('all is well'), await evidenceOf(unit, newUid()), good.with(-9, (good.at(-9) ?? 0) ^ 1)])
      expect(await codeOf(() => bench.field.bridge.prove(gateway, unit.uid, jobId, bytes))).toBe('ATTESTATION_FAILED');
    expect(await bench.typesOf(unit.uid)).toEqual(before);
    const events = await bench.ctx.store.readStream('gateway-bringer');
    const refused = events.filter(({ type }) => type === 'GatewayEvidenceRefused').map(({ data }) => data.code);
    expect(refused.length).toBeGreaterThan(1);
    expect((await bench.ctx.store.readStream('alarm-bringer')).map(({ data }) => data.code)).toContain('GATEWAY_EVIDENCE');
    expect(await bench.field.bridge.prove(gateway, unit.uid, jobId, good)).toMatchObject({ result: 'passed' });
  });

  it('shows evidence of an upgrade that is done once more, and it counts as no attestation (T22)', async () => {
    covers('T22');
    const unit = nextUnit();
    const jobId = offerIdOf(await roll(unit), unit.uid);
    unit.firmware = bench.fleet.next;
    const evidence = await evidenceOf(unit, jobId);
    expect(await bench.field.bridge.prove(liar, unit.uid, jobId, evidence)).toMatchObject({ result: 'passed' });
    const before = await bench.typesOf(unit.uid);
    expect(before).toContain('FirmwareUpgraded');
    const kept = bench.attestations.page(unit.uid, { limit: 10 });
    expect(await bench.field.bridge.prove(liar, unit.uid, jobId, evidence)).toEqual({ result: 'passed' });
    expect(bench.attestations.page(unit.uid, { limit: 10 })).toEqual(kept);
    expect(await bench.typesOf(unit.uid)).toEqual(before);
  });
});

describe('a programmer that tries UIDs (T25)', () => {
  const seeker = { ...liar, id: newUid() };

  it('learns of no more of them by asking for all at once', async () => {
    covers('T25');
    const { ctx, field } = bench;
    const hasty = { ...liar, id: newUid() };
    await registerProgrammer(ctx, hasty.id, 'NuLink3', 'operator:olga');
    const about = { id: ctx.newId(), at: nowIso(ctx), by: `programmer:${hasty.id}` } as const;
    await ctx.store.append(programmerStream(hasty.id), 'any', [newEvent('ProgrammerCheckedIn', {}, about)]);
    const uids = Array.from({ length: 3 * maxRefusalsPerWindow }, newUid);
    const codes = await Promise.all(uids.map(uid => codeOf(() => field.bridge.look(hasty, uid))));
    expect(codes.filter(code => code === 'NOT_FOUND')).toHaveLength(maxRefusalsPerWindow);
    expect(codes.filter(code => code === 'RATE_LIMITED')).toHaveLength(2 * maxRefusalsPerWindow);
  });

  it('learns of few of them whether they live, on the wires and in repair together, and is named', async () => {
    covers('T25');
    const { ctx, alarms, field } = bench;
    await registerProgrammer(ctx, seeker.id, 'NuLink3', 'operator:olga');
    const about = { id: ctx.newId(), at: nowIso(ctx), by: `programmer:${seeker.id}` } as const;
    await ctx.store.append(programmerStream(seeker.id), 'any', [newEvent('ProgrammerCheckedIn', {}, about)]);
    const look = (uid: string) => codeOf(() => field.bridge.look(seeker, uid));
    const inRepair = (uid: string) => codeOf(() => deviceInRepair({ ctx, alarms }, seeker.id, uid));
    const unit = nextUnit();
    await field.bridge.look(seeker, unit.uid);
    const uids = Array.from({ length: maxRefusalsPerWindow - 1 }, newUid);
    for (const [i, uid] of uids.entries()) expect(await (i % 2 === 0 ? look(uid) : inRepair(uid))).toBe('NOT_FOUND');
    expect(await inRepair(unit.uid)).toBe('DEVICE_STATE');
    for (const uid of [newUid(), (bench.fleet.units[0] as Unit).uid])
      expect([await look(uid), await inRepair(uid)]).toEqual(['RATE_LIMITED', 'RATE_LIMITED']);
    // What it has asked for already says nothing new.
    expect(await look(uids[0] ?? '')).toBe('NOT_FOUND');
    const raised = (await ctx.store.readStream(`alarm-${programmerStream(seeker.id)}`)).map(({ data }) => data);
    expect(raised).toContainEqual(expect.objectContaining({ code: 'UIDS_TRIED' }));
    await field.bridge.look(liar, unit.uid);
  });
});
