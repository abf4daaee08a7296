import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { keyIdOf } from '../../../src/cose/publicKey.ts';
import { rawSigner } from '../../../src/cose/sign1.ts';
import { NusecError } from '../../../src/errors.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { verifyOrder } from '../../../src/production/order.ts';
import { signReceipt } from '../../../src/production/receipt.ts';
import { signingKeysOf, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { createDecommissions } from '../../../src/services/field/decommission.ts';
import { revokeDevice } from '../../../src/services/revocation/revokeDevice.ts';
import type { Unit } from '../../gateway/fieldKit.ts';
import { codeOf, makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { watchWrites } from '../../support/watchedStore.ts';
import { type FieldBench, openField } from './fieldBench.ts';

/** The end of devices that cannot be reached; with devices that answer: test/gateway/orders.test.ts. */

let bench: FieldBench;
let used = 0;
const nextUnit = (): Unit => bench.fleet.units[used++]!;
const dayMs = 86_400_000;

beforeAll(async () => {
  bench = await openField(11);
});
afterAll(() => bench.close());

it('waits for a device that is not connected, then ends without its receipt after the time-out, and keeps its keys for two people (R96, RULE-17, I16)', async () => {
  covers('R96', 'RULE-17', 'I16');
  const unit = nextUnit();
  const { ctx, field } = bench;
  expect(await field.decommissions.decommission(unit.uid, 'old', 'operator:olga')).toEqual({ status: 'STOCK', receipt: 'awaited' });
  await ctx.reads.waitFor(await ctx.store.head());
  await field.decommissions.sweep();
  expect((await livingDevice(ctx, unit.uid)).status).toBe('STOCK');
  bench.moveTime(7 * dayMs);
  await field.decommissions.sweep();
  const end = ['DeviceDecommissionOrdered', 'CertificateRevoked', 'DeviceDecommissioned'];
  expect((await bench.typesOf(unit.uid)).slice(-3)).toEqual(end);
  const events = await ctx.store.readStream(`device-${unit.uid}`);
  expect(events.find(({ type }) => type === 'DeviceDecommissioned')?.data).toEqual({ withoutReceipt: 'timed out' });
  expect(events.find(({ type }) => type === 'CertificateRevoked')?.data).toMatchObject({ reason: 'cessationOfOperation' });
  expect(bench.revocations.isRevoked(parseCertificate(unit.certificate).serialHex)).toBe(true);
  const isUsable = async () => (await codeOf(() => ctx.bootKeys.sign(unit.bootKeyId, new Uint8Array(32)))) !== 'KEY_REFUSED';
  expect([await isUsable(), (await bench.codesOfAlarms()).includes('KEYS_KEPT')]).toEqual([true, true]);
  // One person who asks again, and the sweep, leave them alone.
  await field.decommissions.decommission(unit.uid, 'old', 'operator:olga');
  await ctx.reads.waitFor(await ctx.store.head());
  await field.decommissions.sweep();
  expect(await isUsable()).toBe(true);
  await field.decommissions.decommission(unit.uid, 'lost', 'operator:olga', true);
  expect([(await bench.typesOf(unit.uid)).at(-1), await isUsable()]).toEqual(['KeyCustodyDestroyed', false]);
});

it('signs an order that only this device in this registration carries out (T31)', async () => {
  covers('T31');
  const [unit, other] = [nextUnit(), nextUnit()];
  bench.plugIn(unit);
  await bench.field.decommissions.decommission(unit.uid, 'old', 'operator:olga');
  const { order } = bench.orders.at(-1)!;
  const bundle = await verifyTrustBundle(
    await currentTrustBundle(bench.ctx, await authorityOf(bench.ctx)),
    parseCertificate(unit.root).spki,
  );
  const expecting = (uid: string, objId: string) => ({ operation: 'wipe', uid: fromHex(uid), objId: fromHex(objId) }) as const;
  const judge = (uid: string, objId: string) => verifyOrder(order, expecting(uid, objId), signingKeysOf(bundle, 'order'));
  expect(await judge(unit.uid, unit.objId)).toMatchObject({ operation: 'wipe', reason: 'old', approvers: ['operator:olga'] });
  expect(await codeOf(() => judge(other.uid, other.objId))).toBe('ORDER_REFUSED');
  expect(await codeOf(() => judge(unit.uid, other.objId))).toBe('ORDER_REFUSED');
});

it('sends the same order again when the device connects, and asks for it only once', async () => {
  const unit = nextUnit();
  await bench.field.decommissions.decommission(unit.uid, 'old', 'operator:olga');
  await bench.field.decommissions.decommission(unit.uid, 'other', 'operator:alice');
  expect((await bench.typesOf(unit.uid)).filter(type => type === 'DeviceDecommissionOrdered')).toHaveLength(1);
  bench.plugIn(unit);
  await bench.field.decommissions.resume(unit.uid);
  expect(new Set(bench.orders.filter(({ uid }) => uid === unit.uid).map(({ order }) => String(order))).size).toBe(1);
});

it('does not wait for a device that two people have given up; one that is revoked and cannot connect needs them (I16)', async () => {
  covers('I16');
  const [gone, revoked] = [nextUnit(), nextUnit()];
  const { decommissions } = bench.field;
  expect(await decommissions.decommission(gone.uid, 'lost', 'operator:olga', true)).toEqual({ status: 'DECOMMISSIONED', receipt: 'none' });
  await revokeDevice(bench.ctx, bench.revocations, revoked.uid, 'keyCompromise', 'operator:olga');
  const alone = () => decommissions.decommission(revoked.uid, 'stolen', 'operator:olga');
  expect(await codeOf(alone)).toBe('FOUR_EYES_REQUIRED');
  expect(await decommissions.decommission(revoked.uid, 'stolen', 'operator:olga', true)).toMatchObject({ status: 'DECOMMISSIONED' });
  expect((await bench.typesOf(revoked.uid)).slice(-2)).toEqual(['DeviceDecommissioned', 'KeyCustodyDestroyed']);
});

it('finishes what was cut off between the end and the destruction of the keys', async () => {
  const unit = nextUnit();
  const { ctx, alarms, revocations } = bench;
  let cut = true;
  const bootKeys = {
    ...ctx.bootKeys,
    destroy: (keyId: string) => (cut ? Promise.reject(new Error('power')) : ctx.bootKeys.destroy(keyId)),
  };
  const decommissions = createDecommissions({ ctx: { ...ctx, bootKeys }, alarms, revocations, channel: bench.channel.channel });
  await expect(decommissions.decommission(unit.uid, 'old', 'operator:olga', true)).rejects.toThrow('power');
  expect((await bench.typesOf(unit.uid)).at(-1)).toBe('DeviceDecommissioned');
  cut = false;
  await ctx.reads.waitFor(await ctx.store.head());
  await decommissions.sweep();
  expect((await bench.typesOf(unit.uid)).at(-1)).toBe('KeyCustodyDestroyed');
});

it('ends devices after the time-out though one before them cannot be ended (R96, RULE-17)', async () => {
  covers('R96', 'RULE-17');
  const [stuck, unit] = [nextUnit(), nextUnit()];
  const { ctx, alarms, revocations } = bench;
  const isStuck = (streams: readonly string[]) => streams.includes(`device-${stuck.uid}`);
  let isDamaged = false;
  const store = watchWrites(ctx.store, streams => {
    if (isDamaged && isStuck(streams)) throw new NusecError('STORE_DAMAGED', 'an event of this device is damaged');
  });
  const decommissions = createDecommissions({ ctx: { ...ctx, store }, alarms, revocations, channel: bench.channel.channel });
  for (const { uid } of [stuck, unit]) await decommissions.decommission(uid, 'old', 'operator:olga');
  await ctx.reads.waitFor(await ctx.store.head());
  isDamaged = true;
  bench.moveTime(7 * dayMs);
  await decommissions.sweep();
  expect((await bench.typesOf(unit.uid)).at(-1)).toBe('DeviceDecommissioned');
  isDamaged = false;
  await decommissions.sweep();
  expect((await bench.typesOf(stuck.uid)).at(-1)).toBe('DeviceDecommissioned');
});

it('refuses a decommissioned device that says hello, with an alarm (I11)', async () => {
  covers('I11');
  const unit = nextUnit();
  await bench.field.decommissions.decommission(unit.uid, 'old', 'operator:olga', true);
  const { version, securityCounter, imageHash } = unit.firmware;
  const hello = { version, securityCounter, imageHash, imageState: 'confirmed', objId: unit.objId } as const;
  expect(await codeOf(() => bench.field.hello(unit.uid, hello, 'gateway:g1'))).toBe('DEVICE_STATE');
  expect(await bench.codesOfAlarms()).toContain('OUT_OF_USE_SEEN');
});

it('takes the receipt of a wipe that nobody waits for any more, and nothing else for it (R96)', async () => {
  covers('R96');
  const unit = nextUnit();
  const { ctx, field } = bench;
  await field.decommissions.decommission(unit.uid, 'old', 'operator:olga');
  const { decommissionOrderSha256 = '' } = await livingDevice(ctx, unit.uid);
  const [uid, objId] = [fromHex(unit.uid), fromHex(unit.objId)];
  const { nonce } = await verifyOrder(
    await ctx.blobs.get(decommissionOrderSha256),
    { operation: 'wipe', uid, objId },
    signingKeysOf(
      await verifyTrustBundle(await currentTrustBundle(ctx, await authorityOf(ctx)), parseCertificate(unit.root).spki),
      'order',
    ),
  );
  const wiped = {
    uid,
    objId,
    nonce,
    stage: 'app',
    lifeCycle: 'decommissioned',
    debugState: 'locked',
    otpMask: 31,
    images: [],
    bootCount: 1,
  } as const;
  const receiptBy = (key: typeof unit.key, facts: object = {}) =>
    signReceipt({ ...wiped, ...facts }, { kid: keyIdOf(key.spki), sign: rawSigner(key.signer.sign) });
  await field.decommissions.receive(unit.uid, await receiptBy(makeKey()));
  await field.decommissions.receive(unit.uid, await receiptBy(unit.key, { nonce: new Uint8Array(16) }));
  await field.decommissions.receive(unit.uid, await receiptBy(unit.key, { lifeCycle: 'deployed' }));
  expect((await livingDevice(ctx, unit.uid)).status).toBe('STOCK');
  const receipt = await receiptBy(unit.key);
  for (let time = 0; time < 2; time++) await field.decommissions.receive(unit.uid, receipt);
  const ends = (await ctx.store.readStream(`device-${unit.uid}`)).filter(({ type }) => type === 'DeviceDecommissioned');
  expect(ends.map(({ data }) => data)).toEqual([{ wipeReceiptSha256: await ctx.blobs.put(receipt) }]);
  await expect.poll(async () => (await livingDevice(ctx, unit.uid)).custodyDestroyed).toBe(true);
});
