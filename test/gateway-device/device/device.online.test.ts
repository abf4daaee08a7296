import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Board, type BoardEvent, createBoard } from '../../../gateway-device/chip/board.ts';
import { trustOf } from '../../../gateway-device/chip/trust.ts';
import { onlineDevice } from '../../../gateway-device/device/app/online.ts';
import { appStage } from '../../../gateway-device/device/appStage.ts';
import { toHex } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { measurementIndex } from '../../../src/ota/measurementIndex.ts';
import { signOrder } from '../../../src/production/order.ts';
import { verifyReceipt } from '../../../src/production/receipt.ts';
import { signTrustBundle } from '../../../src/production/trustBundle.ts';
import { verifyEvidence } from '../../../src/spdm/evidence.ts';
import { runAttestation } from '../../../src/spdm/requester/run.ts';
import { until } from '../../gateway/broker/harness.ts';
import { makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import {
  type MemoryStorage,
  makeImage,
  makeOem,
  newChip,
  newStorage,
  type Oem,
  objId,
  openBench,
  provision,
  random,
  signerOf,
  uid,
} from '../programmer/factory.ts';
import { flippedAt } from './attacks.ts';
import { type Cloud, named, serverName, startCloud } from './cloud.ts';

/** A provisioned device and a small server, over a real broker with mutual TLS. */

let oem: Oem;
let made: { readonly storage: MemoryStorage; readonly point: Uint8Array };
let cloud: Cloud;
const boards: Board[] = [];
const backoff = { firstReconnectMs: 20, maxReconnectMs: 100, stableAfterMs: 10_000 };
const now = 1_800_000_000;

beforeAll(async () => {
  oem = await makeOem();
  const storage = newStorage();
  const bench = await openBench(newChip(storage));
  const { point } = await provision(bench, oem);
  await bench.close();
  made = { storage, point };
});
afterEach(async () => {
  await Promise.all(boards.splice(0).map(board => board.stop()));
  await cloud.broker.close();
});

/** The same unit each time, as it left the factory. */
const freshStorage = (): MemoryStorage => ({ ...newStorage(made.storage), keys: made.storage.keys });

function device(storage = freshStorage(), options: Partial<Parameters<typeof onlineDevice>[0]> = {}) {
  const events: BoardEvent[] = [];
  const online = onlineDevice({
    host: '127.0.0.1',
    port: cloud.port,
    servername: serverName,
    nowSeconds: () => now,
    backoff,
    pullRules: { windowBlocks: 4, timeoutMs: 400, maxTries: 30 },
    retryMs: 100,
    ...options,
  });
  const board = createBoard({ chip: newChip(storage), stages: { app: appStage(online) }, tell: event => events.push(event) });
  boards.push(board);
  return { board, events, storage };
}

async function connected(...given: Parameters<typeof device>) {
  const { hellos } = cloud.heard;
  const before = hellos.length;
  const started = device(...given);
  await started.board.reset();
  await until(() => hellos.length > before);
  return started;
}

const statuses = (): string[] => cloud.heard.statuses.map(({ status, reason }) => (reason ? `${status} ${reason}` : status));

describe('an online device', () => {
  it('says hello by mutual TLS with the key of its KeyStore (R91)', async () => {
    covers('R91');
    cloud = await startCloud(oem);
    await connected();
    expect(cloud.heard.hellos[0]).toMatchObject({ version: '1.2.3', securityCounter: 5, imageState: 'confirmed', objId });
  });

  it('is attested by the server over MQTT, though every message is delivered twice (R85)', async () => {
    covers('R85');
    cloud = await startCloud(oem);
    const { board } = await connected();
    const nonce = random(32);
    const evidence = await runAttestation({ nonce }, cloud.link(1));
    const referenceValues = [{ index: measurementIndex.application, value: board.lastBoot().app!.imageHash }];
    const { verdict } = await verifyEvidence(evidence, { trust: oem.trust, nonce, uidHex: toHex(uid), referenceValues });
    expect(verdict).toEqual({ verdict: 'pass' });
    await cloud.openSession(1);
    await cloud.openSession();
  });

  it('does not answer what was begun before its restart, so that it looks like silence and not like a refusal', async () => {
    cloud = await startCloud(oem);
    await connected();
    const silence = Promise.race([
      cloud.link()({ kind: 'clear', message: Uint8Array.of(0x12, 0x81, 0, 0) }),
      cloud.link()({ kind: 'secured', message: random(40) }),
      new Promise(resolve => setTimeout(resolve, 200, 'silence')),
    ]);
    expect(await silence).toBe('silence');
    await cloud.openSession();
  });

  it('backs off when it is refused, and comes back when it is welcome again', async () => {
    cloud = await startCloud(oem);
    cloud.state.isRevoked = true;
    const { board } = device();
    await board.reset();
    await until(() => cloud.heard.refusals >= 3);
    const after = cloud.heard.refusals;
    await new Promise(resolve => setTimeout(resolve, 300));
    expect(cloud.heard.refusals - after).toBeLessThan(40);
    expect(cloud.heard.hellos).toHaveLength(0);
    cloud.state.isRevoked = false;
    await until(() => cloud.heard.hellos.length === 1);
  });
});

describe('a trust bundle over MQTT', () => {
  it('is taken once when it is newer and signed by a root the device believes, and refused with a code otherwise (T14)', async () => {
    covers('T14');
    cloud = await startCloud(oem);
    const { events, storage } = await connected();
    const { trusts, hellos } = cloud.heard;
    expect(hellos[0]).toMatchObject({ bundleVersion: 1, roots: [sha256(oem.root.der)] });
    const bundle = (version: number, by = oem.root) =>
      signTrustBundle({ version, issuedAtSeconds: now, roots: [oem.root.der], issuers: [], signingKeys: [] }, signerOf(by.key));
    const good = await bundle(3);
    for (const sent of [good, good, await bundle(2), await bundle(4, oem.ica), flippedAt(good, good.length - 1)]) await cloud.trust(sent);
    await until(() => trusts.length === 5);
    expect(trusts.map(({ bundleVersion, error }) => [bundleVersion, error])).toEqual([
      [3, undefined],
      [3, undefined],
      [3, 'ROLLBACK'],
      [3, 'COSE_SIGNATURE'],
      [3, 'COSE_SIGNATURE'],
    ]);
    expect(named(events, 'trust')).toEqual([{ event: 'trust', version: 3 }]);
    expect((await trustOf(newChip(storage))).bundle?.version).toBe(3);
  });
});

describe('a server of another root', () => {
  it('hears nothing from the device: its own root is the only one it trusts (T14)', async () => {
    covers('T14');
    cloud = await startCloud(await makeOem());
    const { board, events } = device();
    await board.reset();
    await until(() => named(events, 'unreachable').length === 1);
    await new Promise(resolve => setTimeout(resolve, 300));
    expect(named(events, 'unreachable').map(({ text }) => text)).toEqual(['unable to get local issuer certificate']);
    expect([cloud.heard.hellos.length, named(events, 'connected').length]).toEqual([0, 0]);
  });
});

describe('an update over MQTT', () => {
  const newImage = (version = '1.3.0', counter = 6) => makeImage(oem.appKey, version, counter);

  it('is pulled, verified, tested, confirmed; the counter rises at the start after that (R95)', async () => {
    covers('R95');
    cloud = await startCloud(oem);
    const { board, events } = await connected();
    const image = newImage();
    await cloud.openSession();
    await cloud.offer(image);
    await until(() => named(events, 'installed').length === 1);
    expect(statuses()).toEqual(['downloading', 'written', 'testing']);
    expect(cloud.heard.hellos.map(({ version, imageState }) => `${version} ${imageState}`)).toEqual([
      '1.2.3 confirmed',
      '1.3.0 testing',
      '1.3.0 confirmed',
    ]);
    expect(board.lastBoot().app?.imageHash).toEqual(image.imageHash);
    expect(board.chip.otp.counter('application')).toBe(6);
    expect(cloud.heard.payloads.some(payload => Buffer.from(payload).includes('in clear'))).toBe(false);
  });

  it('starts when the session comes after the job, and survives lost and changed blocks (T21)', async () => {
    covers('T21');
    cloud = await startCloud(oem);
    const seen = new Map<number, number>();
    cloud.state.tamper = (reply, index) => {
      const times = (seen.get(index) ?? 0) + 1;
      seen.set(index, times);
      if (times === 1 && index % 3 === 0) return [];
      if (times === 1 && index % 3 === 1) return [flippedAt(reply, reply.length - 40)];
      return [reply, reply];
    };
    const { events, board } = await connected();
    await cloud.offer(newImage());
    await cloud.openSession();
    await until(() => named(events, 'installed').length === 1);
    expect(board.lastBoot().app?.version).toMatchObject({ minor: 3 });
  });

  it('whose blocks are changed every time is never written (T21)', async () => {
    covers('T21');
    cloud = await startCloud(oem);
    cloud.state.tamper = reply => [flippedAt(reply, reply.length - 1)];
    const { board } = await connected();
    await cloud.openSession();
    await cloud.offer(newImage());
    await until(() => cloud.heard.blockRequests.length > 12);
    expect(statuses()).not.toContain('written');
    expect(board.lastBoot().app?.version).toMatchObject({ minor: 2 });
  });

  /** Everything before this block is stored: the device has waited for it in vain. */
  const asksAgainFor = (block: number): boolean => cloud.heard.blockRequests.filter(({ first }) => first === block).length >= 2;

  it('goes on after a restart with the blocks that are there', async () => {
    cloud = await startCloud(oem);
    const { board, storage } = await connected();
    const half = 3;
    cloud.state.tamper = (reply, index) => (index < half ? [reply] : []);
    await cloud.openSession();
    await cloud.offer(newImage());
    await until(() => asksAgainFor(half));
    await board.stop();
    boards.splice(0);

    cloud.state.tamper = reply => [reply];
    cloud.heard.blockRequests.length = 0;
    const again = await connected(storage);
    await cloud.openSession();
    await until(() => named(again.events, 'installed').length === 1);
    expect(Math.min(...cloud.heard.blockRequests.map(({ first }) => first))).toBe(half);
  });

  it('goes on with the blocks it has when the server, after a lost connection, signs the job and the image anew', async () => {
    cloud = await startCloud(oem);
    const { events } = await connected();
    const payload = random(30_000);
    const big = () => makeImage(oem.appKey, '1.3.0', 6, { payload });
    const half = 4;
    cloud.state.tamper = (reply, index) => (index < half ? [reply] : []);
    await cloud.openSession();
    const { job } = await cloud.offer(big(), { blockBytes: 4096 });
    await until(() => asksAgainFor(half));

    const hellos = cloud.heard.hellos.length;
    cloud.state.secret = undefined;
    cloud.state.delivered = undefined;
    cloud.broker.disconnect(toHex(uid), 'CONNECTION_LOST');
    await until(() => cloud.heard.hellos.length > hellos);
    cloud.state.tamper = reply => [reply];
    cloud.heard.blockRequests.length = 0;
    await cloud.openSession();
    await cloud.offer(big(), { blockBytes: 4096, otaJobId: job.otaJobId, sequence: job.sequence });
    await until(() => named(events, 'installed').length === 1);
    expect(Math.min(...cloud.heard.blockRequests.map(({ first }) => first))).toBe(half);
    expect(statuses().filter(status => status === 'downloading')).toHaveLength(2);
  });

  it('is refused by the device itself when it would roll back, is another product’s, another device’s, expired or forged (T12, T13, I9)', async () => {
    covers('T12', 'T13', 'I9');
    cloud = await startCloud(oem);
    const { events } = await connected();
    await cloud.openSession();
    const refusedAs = async (count: number, offer: () => Promise<unknown>) => {
      await offer();
      await until(() => named(events, 'refused').length === count);
      return named(events, 'refused').at(-1)?.code;
    };
    expect(await refusedAs(1, () => cloud.offer(newImage('1.4.0', 4)))).toBe('ROLLBACK');
    expect(await refusedAs(2, () => cloud.offer(newImage('1.2.0', 5)))).toBe('DOWNGRADE');
    expect(await refusedAs(3, () => cloud.offer(newImage(), { classUuid: random(16) }))).toBe('WRONG_PRODUCT');
    expect(await refusedAs(4, () => cloud.offer(newImage(), { uid: random(16) }))).toBe('WRONG_PRODUCT');
    expect(await refusedAs(5, () => cloud.offer(newImage(), { expiresAtSeconds: now }))).toBe('JOB_EXPIRED');
    await until(() => statuses().length === 5);
    expect(statuses()).toEqual([
      'refused ROLLBACK',
      'refused DOWNGRADE',
      'refused WRONG_PRODUCT',
      'refused WRONG_PRODUCT',
      'refused JOB_EXPIRED',
    ]);
    expect(cloud.heard.blockRequests).toHaveLength(0);
  });

  it('takes an older version at the same counter with the permit that its signed job carries, and not at a lower one (T12)', async () => {
    covers('T12');
    cloud = await startCloud(oem);
    const { events } = await connected();
    await cloud.openSession();
    const downgradeApprovers = ['operator:ann', 'operator:bob'];
    await cloud.offer(newImage('1.2.0', 4), { downgradeApprovers });
    await until(() => named(events, 'refused').length === 1);
    expect(named(events, 'refused')[0]?.code).toBe('ROLLBACK');
    await cloud.offer(newImage('1.2.0', 5), { downgradeApprovers: ['operator:ann', 'operator:ann'] });
    await until(() => named(events, 'refused').length === 2);
    expect(named(events, 'refused')[1]?.code).toBe('DOWNGRADE');
    await cloud.offer(newImage('1.2.0', 5), { downgradeApprovers });
    await until(() => named(events, 'written').length === 1);
  });

  it('with a lying job is refused by the bootloader’s check: older counter inside, or another key (T12, RULE-15)', async () => {
    covers('T12', 'RULE-15');
    cloud = await startCloud(oem);
    const { board } = await connected();
    const failures = () => statuses().filter(status => status.startsWith('failed'));
    await cloud.openSession();
    const lying = await cloud.offer(newImage('1.4.0', 4), { securityCounter: 9 });
    await until(() => failures().length === 1);
    await cloud.offer(lying.image, lying.job);
    await until(() => failures().length === 2);
    expect(statuses().filter(status => status === 'downloading')).toHaveLength(1);
    await cloud.offer(makeImage(makeKey(), '1.4.0', 9));
    await until(() => failures().length === 3);
    expect(failures()).toEqual(['failed rollback-security-counter-too-low', 'failed failed-before', 'failed unknown-signing-key']);
    expect(board.lastBoot().app?.version).toMatchObject({ minor: 2 });
  });

  it('that does not reach the server again is reverted and reported', async () => {
    cloud = await startCloud(oem);
    const { events, board } = await connected(undefined, { selfTestMs: 250 });
    await cloud.openSession();
    await cloud.offer(newImage());
    await until(() => named(events, 'written').length === 1);
    cloud.state.isRevoked = true;
    await until(() => board.lastBoot().swapped === 'revert');
    cloud.state.isRevoked = false;
    await until(() => statuses().includes('failed reverted'));
    expect(board.lastBoot().app?.version).toMatchObject({ minor: 2 });
    expect(board.chip.otp.counter('application')).toBe(5);
  });
});

describe('a wipe order over MQTT', () => {
  const order = (changes: object = {}) => ({
    operation: 'wipe' as const,
    uid,
    objId,
    nonce: random(16),
    expiresAtSeconds: now + 60,
    reason: 'end of life',
    approvers: ['ann'],
    ...changes,
  });

  it('is refused when it is another device’s, an older registration’s, expired or not signed by the owner (T31)', async () => {
    covers('T31');
    cloud = await startCloud(oem);
    const { board } = await connected();
    for (const wrong of [{ uid: random(16) }, { objId: random(16) }, { expiresAtSeconds: now }, { operation: 'rekey' }]) {
      await cloud.order(await signOrder(order(wrong), oem.orders));
    }
    await cloud.order(await signOrder(order(), signerOf(makeKey())));
    await until(() => cloud.heard.orders.length === 5);
    expect(cloud.heard.orders.map(({ receipt, error }) => receipt ?? error)).toEqual([
      'ORDER_REFUSED',
      'ORDER_REFUSED',
      'ORDER_REFUSED',
      'ORDER_REFUSED',
      'COSE_SIGNATURE',
    ]);
    expect(board.chip.lifeCycle()).toBe('deployed');
  });

  it('brings its receipt again, over new connections, until the server has it (R96)', async () => {
    covers('R96');
    cloud = await startCloud(oem);
    cloud.state.lostReceipts = 2;
    const kept = made.storage.keys.load() as Uint8Array;
    const { board } = await connected(freshStorage());
    const nonce = random(16);
    await cloud.order(await signOrder(order({ nonce }), oem.orders));
    await until(() => cloud.heard.orders.length === 1);
    const receipt = await verifyReceipt(cloud.heard.orders[0]?.receipt as Uint8Array, { publicKey: made.point, uid, nonce, objId });
    expect(receipt.lifeCycle).toBe('decommissioned');
    expect(cloud.state.lostReceipts).toBe(0);
    await until(() => board.stage() === 'none');
    made.storage.keys.save(kept);
  });

  it('gives a receipt, then keys and firmware are gone and the device stays dead (R96)', async () => {
    covers('R96');
    cloud = await startCloud(oem);
    const storage = freshStorage();
    const kept = made.storage.keys.load() as Uint8Array;
    const { board, events } = await connected(storage);
    const nonce = random(16);
    await cloud.order(await signOrder(order({ nonce }), oem.orders));
    await until(() => cloud.heard.orders.length === 1);
    const receipt = await verifyReceipt(cloud.heard.orders[0]?.receipt as Uint8Array, { publicKey: made.point, uid, nonce, objId });
    expect(receipt).toMatchObject({ lifeCycle: 'decommissioned', images: [] });
    await until(() => board.stage() === 'none');
    expect([named(events, 'wiped').length, board.chip.keyStore.publicKey(0)]).toEqual([1, undefined]);
    await board.reset();
    expect(board.stage()).toBe('none');
    made.storage.keys.save(kept);
  });
});
