import { beforeAll, describe, expect, it } from 'vitest';
import { createBoard } from '../../../gateway-device/chip/board.ts';
import { memoryMap } from '../../../gateway-device/link/debugPort.ts';
import { spdmOver } from '../../../gateway-device/link/devAuthClient.ts';
import { concat, toHex, utf8 } from '../../../src/bytes.ts';
import { p256Spki } from '../../../src/cose/publicKey.ts';
import { sha256 } from '../../../src/digest.ts';
import { formatVersion } from '../../../src/domain/version.ts';
import { imageStateValue, measurementIndex, otpCounterValue, secureVersionValue } from '../../../src/ota/measurementIndex.ts';
import { type OtaJob, signJob } from '../../../src/ota/otaJob.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { putObject, sendFirmware } from '../../../src/production/devauth/transfer.ts';
import { imageIds } from '../../../src/production/fields.ts';
import { signOrder } from '../../../src/production/order.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import { provesImage, provesLock, verifyReceipt } from '../../../src/production/receipt.ts';
import { verifyEvidence } from '../../../src/spdm/evidence.ts';
import { runAttestation } from '../../../src/spdm/requester/run.ts';
import { leafFields, makeKey, organization } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { jobFor } from '../device/cloud.ts';
import {
  benchesOfTests,
  hello,
  type Image,
  installBl2,
  makeCri,
  makeIdentity,
  makeImage,
  makeOem,
  newChip,
  newStorage,
  type Oem,
  objId,
  openSession,
  pieceBytes,
  provision,
  random,
  signerOf,
  startDevAuth,
  transferOf,
  uid,
} from '../programmer/factory.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const refused = (reason: string) => expect.objectContaining({ code: 'DEVAUTH_REFUSED', reason });

let oem: Oem;
const bench = benchesOfTests();
beforeAll(async () => {
  oem = await makeOem();
});

const nonce = (): Uint8Array => random(16);

describe('a blank chip', () => {
  it('waits for the debugger, tells its UID there and answers nothing on its UART (R35)', async () => {
    covers('R35');
    const { board, debug } = await bench();
    expect(board.stage()).toBe('none');
    expect(await debug.readUid()).toEqual({ uid, productId: 0x2354, lifeCycle: 'manufacture', debugState: 'open' });
    expect(await debug.status()).toEqual({ stage: 'none', lifeCycle: 'manufacture', debugState: 'open' });
  });

  it('runs DevAuth code out of SRAM and nothing else (R5, R6, R7, R73)', async () => {
    covers('R5', 'R6', 'R7', 'R73');
    const { board, debug, devAuth } = await bench();
    await debug.writeMemory(memoryMap.sram.address, utf8('other code'));
    await expect(debug.run(memoryMap.sram.address)).rejects.toThrow(code('BAD_REQUEST'));
    await startDevAuth(debug);
    expect(board.stage()).toBe('devauth');
    expect(await hello(devAuth)).toMatchObject({ stage: 'devauth', uid, otpMask: 0, lifeCycle: 'manufacture', debugState: 'open' });
  });

  it('makes one key, tells it again after a lost answer, and never another (R8, R9, R74)', async () => {
    covers('R8', 'R9', 'R74');
    const { debug, devAuth } = await bench();
    await startDevAuth(debug);
    const ask = () => devAuth.request('keygen', { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 });
    const first = await ask();
    expect(await ask()).toEqual(first);
    await expect(devAuth.request('keygen', { keySlot: 1, algorithm: 'es256', minEntropyBits: 256 })).rejects.toThrow(refused('bad-arg'));
  });

  it('signs only a request with its own key and its own UID (R11, R76, T28)', async () => {
    covers('R11', 'R76', 'T28');
    const { debug, devAuth } = await bench();
    await startDevAuth(debug);
    const { publicKey } = await devAuth.request('keygen', { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 });
    const point = concat(Uint8Array.of(4), publicKey);
    const sign = (cri: Uint8Array) => devAuth.request('signCri', { cri });
    await expect(sign(makeCri(makeKey().point))).rejects.toThrow(refused('bad-arg'));
    await expect(sign(makeCri(point, 'ff'.repeat(16)))).rejects.toThrow(refused('bad-arg'));
    await expect(sign(random(200))).rejects.toThrow(refused('bad-arg'));
    expect((await sign(makeCri(point))).signature).toHaveLength(64);
  });

  it('keeps only a certificate for its own key, and a bundle signed by its root (R79)', async () => {
    covers('R79');
    const { debug, devAuth } = await bench();
    await startDevAuth(debug);
    const { certificate } = await makeIdentity(devAuth, oem);
    const other = await bench(newChip());
    await startDevAuth(other.debug);
    await other.devAuth.request('keygen', { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 });
    await expect(putObject(other.devAuth, 'deviceCertificate', certificate, pieceBytes)).rejects.toThrow(refused('policy'));
    await expect(putObject(devAuth, 'bundle', (await makeOem()).bundle, pieceBytes)).rejects.toThrow(refused('unauthenticated'));
  });

  it('burns a slot once: the same value again is no harm, another one is refused (I5)', async () => {
    covers('I5');
    const { debug, devAuth } = await bench();
    await startDevAuth(debug);
    const burn = (fill: number) => devAuth.request('otp', { slot: 3, kind: 'hash', value: new Uint8Array(32).fill(fill) });
    const first = await burn(5);
    expect(await burn(5)).toEqual(first);
    await expect(burn(7)).rejects.toThrow(refused('otp-used'));
  });
});

describe('a unit in production', () => {
  it('goes from blank to its application, step by step (R42, R44, R56)', async () => {
    covers('R42', 'R44', 'R56');
    const made = await bench();
    const { app, bl2, point } = await provision(made, oem);
    expect(made.board.stage()).toBe('app');
    expect(await hello(made.devAuth)).toMatchObject({
      stage: 'app',
      otpMask: 0b11111,
      lifeCycle: 'deployed',
      debugState: 'locked',
      firmwareVersion: app.version,
      securityCounter: 5,
      objId,
    });
    const asked = nonce();
    const { receipt } = await made.devAuth.request('receipt', { nonce: asked });
    const value = await verifyReceipt(receipt, { publicKey: point, uid, nonce: asked, objId });
    expect([provesLock(value), provesImage(value, imageIds.bl3, app.imageHash), provesImage(value, imageIds.bl2, bl2.imageHash)]).toEqual([
      true,
      true,
      true,
    ]);
  });

  it('closes the debug port with the lock, and nothing opens it again (R44, T29)', async () => {
    covers('R44', 'T29');
    const made = await bench();
    await provision(made, oem);
    const { debug } = made;
    await debug.connect();
    expect(await debug.status()).toMatchObject({ debugState: 'locked' });
    for (const work of [
      () => debug.readUid(),
      () => debug.readMemory(memoryMap.primary.address, 16),
      () => debug.writeMemory(memoryMap.sram.address, utf8('NSDA')),
      () => debug.run(memoryMap.sram.address),
      () => debug.reset(),
    ]) {
      await expect(work()).rejects.toThrow(code('DEBUG_LOCKED'));
    }
    await made.devAuth.request('reset', { mode: 'bootloader' });
    await expect(made.devAuth.request('lock', { debugState: 'open', lifeCycle: 'deployed' })).rejects.toThrow(refused('locked'));
    await expect(made.devAuth.request('lock', { debugState: 'locked', lifeCycle: 'manufacture' })).rejects.toThrow(refused('locked'));
    await expect(debug.readUid()).rejects.toThrow(code('DEBUG_LOCKED'));
  });

  it('tells in its receipt that it is not locked yet (T29)', async () => {
    covers('T29');
    const made = await bench();
    await startDevAuth(made.debug);
    const { point } = await makeIdentity(made.devAuth, oem);
    await installBl2(made, oem);
    await made.debug.reset();
    const asked = nonce();
    const { receipt } = await made.devAuth.request('receipt', { nonce: asked });
    expect(provesLock(await verifyReceipt(receipt, { publicKey: point, uid, nonce: asked }))).toBe(false);
  });

  it('does not start a BL2 of another key, nor an application of another key (R112, RULE-15)', async () => {
    covers('R112', 'RULE-15');
    const made = await bench();
    await startDevAuth(made.debug);
    await makeIdentity(made.devAuth, oem);
    await installBl2(made, oem, makeImage(makeKey(), '1.0.0', 1));
    await made.debug.reset();
    expect([made.board.stage(), made.board.lastBoot().reason]).toEqual(['none', 'unknown-signing-key']);
    await made.debug.writeMemory(memoryMap.bl2.address, makeImage(oem.bootKey, '1.0.0', 1).bytes);
    await made.debug.reset();
    expect(made.board.stage()).toBe('bl2');
    const { sealed } = await openSession(made.client, oem);
    await expect(sendFirmware(sealed, transferOf(makeImage(makeKey(), '1.0.0', 5)), pieceBytes)).rejects.toThrow(
      refused('unauthenticated'),
    );
    await made.devAuth.request('reset', { mode: 'normal' });
    expect(made.board.stage()).toBe('bl2');
  });

  it('takes firmware and OTP values only sealed once it has an identity (RULE-3, RULE-13, T11)', async () => {
    covers('RULE-3', 'RULE-13', 'T11');
    const made = await bench();
    await startDevAuth(made.debug);
    await makeIdentity(made.devAuth, oem);
    await installBl2(made, oem);
    await made.debug.reset();
    const { bytes, version, securityCounter } = makeImage(oem.appKey, '1.2.3', 5);
    const begin = { image: imageIds.bl3, sizeBytes: bytes.length, sha256: new Uint8Array(32), version, securityCounter };
    await expect(made.devAuth.request('fwBegin', begin)).rejects.toThrow(refused('unauthenticated'));
    await expect(made.devAuth.request('otp', { slot: 7, kind: 'spare', value: new Uint8Array(32).fill(1) })).rejects.toThrow(
      refused('unauthenticated'),
    );
    expect(made.board.chip.otp.slot(otpMap.spare.slot)).toBe('blank');
    await expect(made.devAuth.request('keygen', { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 })).rejects.toThrow(
      refused('unauthenticated'),
    );
  });

  it('goes on with a cut transfer at its offset (R55)', async () => {
    covers('R55');
    const storage = newStorage();
    const made = await bench(newChip(storage));
    await startDevAuth(made.debug);
    await makeIdentity(made.devAuth, oem);
    await installBl2(made, oem);
    await made.debug.reset();
    const app = makeImage(oem.appKey, '1.2.3', 5);
    const { bytes: _, ...announced } = transferOf(app);
    const request = { ...announced, sizeBytes: app.bytes.length, sha256: sha256(app.bytes) };
    const { sealed } = await openSession(made.client, oem);
    expect(await sealed.request('fwBegin', request)).toEqual({ resumeOffset: 0 });
    await sealed.request('fwChunk', { offset: 0, data: app.bytes.subarray(0, 2048) });
    await made.close();

    const again = await bench(newChip(storage));
    const next = await openSession(again.client, oem);
    expect(await next.sealed.request('fwBegin', request)).toEqual({ resumeOffset: 2048 });
    await sendFirmware(next.sealed, transferOf(app), pieceBytes);
    await again.devAuth.request('reset', { mode: 'normal' });
    expect(again.board.stage()).toBe('app');
  });
});

describe('a device in the field', () => {
  it('is attested over its UART: identity, BL2, application, version and locks (R84)', async () => {
    covers('R84');
    const made = await bench();
    const { app, bl2 } = await provision(made, oem);
    const asked = random(32);
    const evidence = await runAttestation({ nonce: asked }, spdmOver(made.client));
    const { bl2: first, application, secureVersion } = measurementIndex;
    const referenceValues = [
      { index: first, value: bl2.imageHash },
      { index: application, value: app.imageHash },
      { index: secureVersion, value: secureVersionValue(app.version, 5) },
      { index: measurementIndex.imageState, value: imageStateValue('confirmed') },
      { index: measurementIndex.otpCounter, value: otpCounterValue(5) },
    ];
    const verified = await verifyEvidence(evidence, { trust: oem.trust, nonce: asked, uidHex: toHex(uid), referenceValues });
    expect(verified.verdict).toEqual({ verdict: 'pass' });
    expect(verified.measurements.map(({ index }) => index)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('that is a copy of flash and OTP, with a certificate but another key, fails the challenge (T8)', async () => {
    covers('T8');
    const storage = newStorage();
    const made = await bench(newChip(storage));
    await provision(made, oem);
    const copied = newStorage(storage);
    const clone = newChip(copied);
    clone.keyStore.generate(0);
    const { client, board } = await bench(clone);
    expect(board.stage()).toBe('app');
    const asked = random(32);
    const evidence = await runAttestation({ nonce: asked }, spdmOver(client));
    await expect(verifyEvidence(evidence, { trust: oem.trust, nonce: asked })).rejects.toThrow(code('SPDM_SIGNATURE'));
    await expect(openSession(client, oem)).rejects.toThrow(code('SPDM_SIGNATURE'));
  });

  it('refuses an older image by itself, whoever offers it (T12, I9)', async () => {
    covers('T12', 'I9');
    const made = await bench();
    await provision(made, oem);
    const { sealed } = await openSession(made.client, oem);
    await expect(sendFirmware(sealed, transferOf(makeImage(oem.appKey, '1.3.0', 4)), pieceBytes)).rejects.toThrow(refused('rollback'));
    await expect(sendFirmware(sealed, transferOf(makeImage(oem.appKey, '1.2.2', 5)), pieceBytes)).rejects.toThrow(refused('version'));
    const lying = { ...transferOf(makeImage(oem.appKey, '1.3.0', 4)), securityCounter: 9 };
    await expect(sendFirmware(sealed, lying, pieceBytes)).rejects.toThrow(refused('rollback'));
    await made.devAuth.request('reset', { mode: 'normal' });
    expect(await hello(made.devAuth)).toMatchObject({ firmwareVersion: { major: 1, minor: 2, revision: 3, build: 0 }, securityCounter: 5 });
  });

  it('takes an older version at the same counter only with the signed permit of two people for it, and each permit once (T12, I16)', async () => {
    covers('T12', 'I16');
    const made = await bench();
    await provision(made, oem);
    const older = makeImage(oem.appKey, '1.2.0', 5);
    const bring = async (image: Image, permit?: Uint8Array): Promise<string> => {
      const { sealed } = await openSession(made.client, oem);
      await sendFirmware(sealed, { ...transferOf(image), ...(permit && { permit }) }, pieceBytes);
      await made.devAuth.request('reset', { mode: 'normal' });
      return formatVersion((await hello(made.devAuth)).firmwareVersion);
    };
    const downgradeApprovers = ['rita', 'rolf'];
    const signed = (changes: Partial<OtaJob>, signer = oem.orders) =>
      signJob(jobFor(older, { downgradeApprovers, ...changes }), signer.kid, signer.sign);
    const stranger = signerOf(makeKey());
    const useless = [
      signJob(jobFor(older), oem.orders.kid, oem.orders.sign),
      signed({ uid: random(16) }),
      signed({ version: { major: 1, minor: 2, revision: 1, build: 0 } }),
      signed({ securityCounter: 6 }),
      signed({ imageBytes: older.bytes.length + 1 }),
      signed({}, stranger),
    ];
    for (const permit of useless) await expect(bring(older, await permit)).rejects.toThrow(refused('version'));
    const permit = await signed({});
    expect(await bring(older, permit)).toBe('1.2.0');
    expect(await bring(makeImage(oem.appKey, '1.2.3', 5))).toBe('1.2.3');
    await expect(bring(older, permit)).rejects.toThrow(refused('version'));
    expect(await bring(older, await signed({}))).toBe('1.2.0');
  });

  it('is upgraded over its UART and raises its counter', async () => {
    const made = await bench();
    await provision(made, oem);
    const { sealed } = await openSession(made.client, oem);
    await sendFirmware(sealed, transferOf(makeImage(oem.appKey, '1.3.0', 7)), 4096);
    await made.devAuth.request('reset', { mode: 'normal' });
    expect(await hello(made.devAuth)).toMatchObject({ firmwareVersion: { minor: 3 }, securityCounter: 7, stage: 'app' });
    expect(made.board.chip.otp.counter('application')).toBe(7);
  });

  const order = (changes: object) => ({
    operation: 'wipe' as const,
    uid,
    objId,
    nonce: nonce(),
    expiresAtSeconds: 2_000_000_000,
    reason: 'end of life',
    approvers: ['ann', 'bob'],
    ...changes,
  });

  it('carries out a wipe order for itself and its nonce only, gives a receipt and stays dead (R96, T31)', async () => {
    covers('R96', 'T31');
    const made = await bench();
    const { point } = await provision(made, oem);
    const { sealed } = await openSession(made.client, oem);
    const wipe = async (changes: object, signer = oem.orders) => {
      const { nonce: fresh } = await sealed.request('hello', { version: 1, nonce: nonce() });
      const signed = await signOrder(order({ nonce: fresh, ...changes }), signer);
      return { fresh, signed, answer: sealed.request('wipe', { order: signed }) };
    };
    for (const wrong of [{ uid: random(16) }, { objId: random(16) }, { nonce: nonce() }, { operation: 'lock' }]) {
      const { answer, signed } = await wipe(wrong);
      await expect(answer).rejects.toThrow(refused('unauthenticated'));
      await expect(sealed.request('wipe', { order: signed })).rejects.toThrow(refused('unauthenticated'));
    }
    await expect((await wipe({}, { ...oem.orders, sign: async () => random(64) })).answer).rejects.toThrow(refused('unauthenticated'));
    await expect(made.devAuth.request('wipe', { order: random(64) })).rejects.toThrow(refused('unauthenticated'));
    expect(made.board.stage()).toBe('app');

    const { fresh, answer } = await wipe({});
    const receipt = await verifyReceipt((await answer).receipt, { publicKey: point, uid, nonce: fresh, objId });
    expect(receipt).toMatchObject({ lifeCycle: 'decommissioned', images: [] });
    await made.board.reset();
    const { chip } = made.board;
    expect([made.board.stage(), chip.lifeCycle(), chip.keyStore.publicKey(0), chip.data.get('deviceCertificate')]).toEqual([
      'none',
      'decommissioned',
      undefined,
      undefined,
    ]);
  });

  it('opens its debug port on an order of two people and the password of the unit, until the next start (I16)', async () => {
    covers('I16');
    const made = await bench();
    await startDevAuth(made.debug);
    const password = random(32);
    await made.devAuth.request('otp', { slot: otpMap.deviceSecret.slot, kind: 'secret', value: sha256(password) });
    await provision(made, oem);
    const { sealed } = await openSession(made.client, oem);
    const unlock = async (changes: object, given = password) => {
      const { nonce: fresh } = await sealed.request('hello', { version: 1, nonce: nonce() });
      const signed = await signOrder({ ...order({ nonce: fresh }), operation: 'debugUnlock', ...changes }, oem.orders);
      return sealed.request('debugUnlock', { order: signed, password: given });
    };
    await expect(unlock({ approvers: ['ann', 'ann'] })).rejects.toThrow(refused('unauthenticated'));
    await expect(unlock({}, random(32))).rejects.toThrow(refused('unauthenticated'));
    await expect(made.debug.readUid()).rejects.toThrow(code('DEBUG_LOCKED'));
    const { nonce: fresh } = await sealed.request('hello', { version: 1, nonce: nonce() });
    const again = await signOrder({ ...order({ nonce: fresh }), operation: 'debugUnlock' }, oem.orders);
    const use = () => sealed.request('debugUnlock', { order: again, password });
    expect(await use()).toEqual({ debugState: 'unlocked' });
    await expect(use()).rejects.toThrow(refused('unauthenticated'));
    expect((await made.debug.readUid()).debugState).toBe('unlocked');
    await made.debug.reset();
    await expect(made.debug.readUid()).rejects.toThrow(code('DEBUG_LOCKED'));
  });

  it('takes a certificate only from its own authorities, and no order of others whatever stands in its flash (R4, T31)', async () => {
    covers('R4', 'T31');
    const made = await bench();
    await provision(made, oem);
    const { sealed } = await openSession(made.client, oem);
    const other = await makeOem();
    const own = made.board.chip.keyStore.publicKey(0) as Uint8Array;
    const fields = { ...leafFields(other.ica, p256Spki(own)), organization, uid: toHex(uid), objId: toHex(objId) };
    const { der } = await issueCertificate('device', fields, other.ica.key.signer);
    await expect(putObject(sealed, 'deviceCertificate', der, pieceBytes)).rejects.toThrow(refused('policy'));
    await expect(putObject(sealed, 'rootCertificate', other.root.der, pieceBytes)).rejects.toThrow(refused('policy'));
    await expect(putObject(sealed, 'icaCertificate', other.ica.der, pieceBytes)).rejects.toThrow(refused('policy'));
    await expect(putObject(sealed, 'objId', random(16), pieceBytes)).rejects.toThrow(refused('policy'));

    const { data } = made.board.chip;
    data.put('rootCertificate', other.root.der);
    data.put('bundle', other.bundle);
    const { nonce: fresh } = await sealed.request('hello', { version: 1, nonce: nonce() });
    const signed = await signOrder(order({ nonce: fresh }), other.orders);
    await expect(sealed.request('wipe', { order: signed })).rejects.toThrow(refused('unauthenticated'));
  });

  it('has everything on the disk before an answer leaves (T33)', async () => {
    covers('T33');
    const log: string[] = [];
    const chip = newChip({ ...newStorage(), sync: () => log.push('sync') });
    const board = createBoard({
      chip,
      stages: {
        devauth: () => ({
          handle: async () => {
            log.push('work');
            return new Uint8Array(1);
          },
        }),
      },
    });
    chip.sram.set(utf8('NSDA'));
    await board.run(memoryMap.sram.address);
    await board.receive(new Uint8Array(1), async () => void log.push('answer'));
    expect(log).toEqual(['work', 'sync', 'answer']);
  });
});
