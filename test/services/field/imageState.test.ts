import { afterAll, beforeAll, expect, it } from 'vitest';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { offerIdOf, planRollout } from '../../../src/services/firmware/rolloutPlan.ts';
import { eventually, publish, type Unit } from '../../gateway/fieldKit.ts';
import { covers } from '../../support/covers.ts';
import { type FieldBench, openField } from './fieldBench.ts';

/** The state of the image and the counter in OTP are part of what a device proves: an image that may still be reverted is no upgrade. */

let bench: FieldBench;
let used = 0;
const nextUnit = (): Unit => bench.fleet.units[used++] as Unit;

beforeAll(async () => {
  bench = await openField(10);
});
afterAll(() => bench.close());

const offer = async (unit: Unit): Promise<string> => (await offerOf(unit, bench.fleet.next.releaseId)).offerId;
async function offerOf(unit: Unit, releaseId: string) {
  const id = await planRollout(bench.ctx, { releaseId, devices: [unit.uid] }, 'operator:rita');
  await bench.field.rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await bench.field.rollouts.command(id, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
  await eventually(async () => (await stateOf(unit)).offer !== undefined);
  return { rolloutId: id, offerId: offerIdOf(id, unit.uid) };
}
const stateOf = (unit: Unit) => livingDevice(bench.ctx, unit.uid);
const attest = (unit: Unit) => bench.field.attestation.attest(unit.uid);
const hello = (unit: Unit, imageState: 'confirmed' | 'testing') => {
  const { version, securityCounter, imageHash } = unit.firmware;
  return bench.field.hello(unit.uid, { version, securityCounter, imageHash, imageState, objId: unit.objId }, 'mqtt');
};

it('an attestation during the test boot is no upgrade, whoever asks for it and whatever the device says (RULE-18, I18)', async () => {
  covers('RULE-18', 'I18');
  const unit = nextUnit();
  const { manners } = bench.plugIn(unit);
  await offer(unit);
  unit.firmware = bench.fleet.next;
  manners.measuredState = 'testing';
  await hello(unit, 'confirmed');
  expect(await attest(unit)).toMatchObject({ result: 'passed', version: '1.1.0' });
  expect((await stateOf(unit)).firmware?.version).toBe('1.0.0');
  manners.measuredState = 'confirmed';
  await attest(unit);
  expect((await stateOf(unit)).firmware?.version).toBe('1.1.0');
});

it('a device that does not measure it is believed only what it said of this very image on its own connection', async () => {
  const unit = nextUnit();
  bench.plugIn(unit);
  await hello(unit, 'confirmed');
  await offer(unit);
  unit.firmware = bench.fleet.next;
  await attest(unit);
  expect((await stateOf(unit)).firmware?.version).toBe('1.0.0');
  await hello(unit, 'testing');
  await attest(unit);
  expect((await stateOf(unit)).firmware?.version).toBe('1.0.0');
  await hello(unit, 'confirmed');
  await eventually(async () => (await stateOf(unit)).firmware?.version === '1.1.0');
});

it('an image that was given up is proven whenever the device comes back with it, whatever was offered and given up since (RULE-18)', async () => {
  covers('RULE-18');
  const unit = nextUnit();
  const { manners } = bench.plugIn(unit);
  manners.measuredState = 'confirmed';
  const newer = [await publish(bench.ctx, 'app', '1.2.0', 3), await publish(bench.ctx, 'app', '1.3.0', 3)];
  for (const { releaseId } of [bench.fleet.next, ...newer]) {
    const { rolloutId, offerId } = await offerOf(unit, releaseId);
    if (releaseId === bench.fleet.next.releaseId) await bench.field.delivery.reportStatus(unit.uid, offerId, 'testing', undefined);
    const abort = { type: 'AbortRollout', reason: 'complaints', by: 'operator:rita' } as const;
    await bench.field.rollouts.command(rolloutId, abort, 'operator:rita');
    await eventually(async () => (await stateOf(unit)).offer === undefined);
  }
  unit.firmware = bench.fleet.next;
  await hello(unit, 'confirmed');
  expect(await attest(unit)).toMatchObject({ result: 'passed', version: '1.1.0' });
  expect(await stateOf(unit)).toMatchObject({ status: 'IN_SERVICE', firmware: { version: '1.1.0' } });
});

it('a revert is not lost when the server restarts between the test boot and it', async () => {
  const unit = nextUnit();
  bench.plugIn(unit);
  const offerId = await offer(unit);
  await bench.field.delivery.reportStatus(unit.uid, offerId, 'testing', undefined);
  await bench.restart();
  await hello(unit, 'confirmed');
  const failed = (await bench.ctx.store.readStream(`device-${unit.uid}`)).find(({ type }) => type === 'UpgradeFailed');
  expect(failed?.data).toMatchObject({ offerId, reason: 'reverted' });
});

it('the counter that counts is the one in OTP: it only rises, and nothing below it is offered (I9, T12)', async () => {
  covers('I9', 'T12');
  const unit = nextUnit();
  const { manners } = bench.plugIn(unit);
  manners.measuredState = 'confirmed';
  manners.otpCounter = 2;
  await attest(unit);
  expect((await stateOf(unit)).provenCounter).toBe(2);
  await offer(unit);
  unit.firmware = bench.fleet.next;
  await attest(unit);
  expect(await stateOf(unit)).toMatchObject({ firmware: { version: '1.1.0' }, provenCounter: 2 });
  expect(await bench.codesOfAlarms()).toContain('COUNTER_NOT_RAISED');
  manners.otpCounter = 3;
  await attest(unit);
  expect((await stateOf(unit)).provenCounter).toBe(3);
  manners.otpCounter = 1;
  await attest(unit);
  expect(await stateOf(unit)).toMatchObject({ status: 'QUARANTINED', provenCounter: 3 });
});

it('evidence with a lower counter than the offered one ends the upgrade with an event and an alarm', async () => {
  const unit = nextUnit();
  const { manners } = bench.plugIn(unit);
  manners.measuredState = 'confirmed';
  await offer(unit);
  unit.firmware = { ...bench.fleet.next, securityCounter: 2 };
  expect(await attest(unit)).toMatchObject({ result: 'passed' });
  const failed = (await bench.ctx.store.readStream(`device-${unit.uid}`)).find(({ type }) => type === 'UpgradeFailed');
  expect(failed?.data).toMatchObject({ reason: 'counter-below-offer' });
  expect(await bench.codesOfAlarms()).toContain('UPGRADE_REFUSED');
});
