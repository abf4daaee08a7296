import { beforeAll, describe, expect, it } from 'vitest';
import { PowerCut } from '../../../gateway-device/chip/flash.ts';
import { authKeySlot, nextAuthKeySlot } from '../../../gateway-device/chip/keyStore.ts';
import { putNext } from '../../../gateway-device/chip/nextGeneration.ts';
import { concat, toHex } from '../../../src/bytes.ts';
import { p256Spki } from '../../../src/cose/publicKey.ts';
import { rawToDer } from '../../../src/ecdsa.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { assembleCsr, buildCertificationRequestInfo, judgeCsr } from '../../../src/pki/csr.ts';
import type { DevAuthHost } from '../../../src/production/devauth/host.ts';
import type { PutType } from '../../../src/production/devauth/identity.ts';
import { putObject } from '../../../src/production/devauth/transfer.ts';
import { type Order, signOrder } from '../../../src/production/order.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import { verifyReceipt } from '../../../src/production/receipt.ts';
import { signTrustBundle, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { type Authority, leafFields, makeIca, makeKey, makeRoot, organization } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import {
  benchesOfTests,
  hello,
  type MemoryStorage,
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
  uid,
} from '../programmer/factory.ts';
import { powerFor } from './memory.ts';

const refused = (reason: string) => expect.objectContaining({ code: 'DEVAUTH_REFUSED', reason });
const nextObjId = new Uint8Array(16).fill(0xd1);

let oem: Oem;
const bench = benchesOfTests();
beforeAll(async () => {
  oem = await makeOem();
});

/** A provisioned unit that waits in its bootloader, and a session with it. */
async function inRepair(storage?: MemoryStorage) {
  const made = await bench(newChip(storage));
  const { point } = await provision(made, oem);
  await made.devAuth.request('reset', { mode: 'bootloader' });
  const { sealed } = await openSession(made.client, oem);
  return { made, sealed, point, rekey: (changes?: Partial<Order>) => rekey(sealed, changes) };
}

async function rekey(sealed: DevAuthHost, changes: Partial<Order> = {}): Promise<Uint8Array> {
  const { nonce } = await hello(sealed);
  const value: Order = { operation: 'rekey', uid, objId, nonce, expiresAtSeconds: 4_000_000_000, reason: 'repaired', approvers: [] };
  const order = await signOrder({ ...value, ...changes }, oem.orders);
  const { publicKey } = await sealed.request('keygen', { keySlot: authKeySlot, algorithm: 'es256', minEntropyBits: 256, order });
  return concat(Uint8Array.of(4), publicKey);
}

const requestFor = (point: Uint8Array, uidHex = toHex(uid)): Uint8Array =>
  buildCertificationRequestInfo({ subject: { commonName: toHex(nextObjId), serialNumber: uidHex }, publicKeyPoint: point });

async function certify(point: Uint8Array, ica: Authority = oem.ica, registration = nextObjId): Promise<Uint8Array> {
  const fields = { ...leafFields(ica, p256Spki(point)), organization, uid: toHex(uid), objId: toHex(registration) };
  return (await issueCertificate('device', fields, ica.key.signer)).der;
}

const put = (sealed: DevAuthHost, objects: Partial<Record<PutType, Uint8Array>>) =>
  Object.entries(objects).reduce(
    (done, [type, object]) => done.then(() => putObject(sealed, type as PutType, object, pieceBytes)),
    Promise.resolve(),
  );

describe('a device that returns to service', () => {
  it('makes a new key in its KeyStore, proves it, and takes over key, certificate and registration id; its boot keys stay', async () => {
    covers('I3', 'RULE-2');
    const { made, sealed, point, rekey } = await inRepair();
    const mask = made.board.chip.otp.mask();
    const next = await rekey();
    expect(next).not.toEqual(point);
    const cri = requestFor(next);
    const { signature } = await sealed.request('signCri', { cri });
    expect(judgeCsr(assembleCsr(cri, rawToDer(signature))).publicKey).toEqual(p256Spki(next));
    const certificate = await certify(next);
    await put(sealed, { objId: nextObjId, deviceCertificate: certificate });
    await made.devAuth.request('reset', { mode: 'normal' });

    expect(await hello(made.devAuth)).toMatchObject({ stage: 'app', objId: nextObjId, otpMask: mask, debugState: 'locked' });
    const nonce = random(16);
    const { receipt } = await made.devAuth.request('receipt', { nonce });
    expect(await verifyReceipt(receipt, { publicKey: next, uid, objId: nextObjId, nonce })).toMatchObject({ stage: 'app' });
    await expect(openSession(made.client, oem)).resolves.toBeDefined();
    expect(made.board.chip.data.get('deviceCertificate')).toEqual(certificate);
    expect(made.board.chip.keyStore.publicKey(nextAuthKeySlot)).toBeUndefined();
  });

  it('tells the same key again with another order, after a lost answer or a restart, and never a third', async () => {
    const storage = newStorage();
    const { made, rekey: ask } = await inRepair(storage);
    const next = await ask();
    expect(await ask()).toEqual(next);
    await made.devAuth.request('reset', { mode: 'bootloader' });
    const { sealed } = await openSession(made.client, oem);
    expect(await rekey(sealed)).toEqual(next);
  });

  it('does so only inside a session, with an order for this device and its last nonce', async () => {
    covers('T31');
    const { made, sealed, rekey } = await inRepair();
    await expect(rekey({ operation: 'wipe' })).rejects.toThrow(refused('unauthenticated'));
    await expect(rekey({ objId: nextObjId })).rejects.toThrow(refused('unauthenticated'));
    await expect(rekey({ nonce: random(16) })).rejects.toThrow(refused('unauthenticated'));
    const wish = { keySlot: authKeySlot, algorithm: 'es256', minEntropyBits: 256 } as const;
    await expect(sealed.request('keygen', wish)).rejects.toThrow(refused('bad-arg'));
    await expect(made.devAuth.request('keygen', wish)).rejects.toThrow(refused('unauthenticated'));
    await expect(sealed.request('signCri', { cri: requestFor(makeKey().point) })).rejects.toThrow(refused('bad-state'));
    expect(made.board.chip.keyStore.publicKey(nextAuthKeySlot)).toBeUndefined();
  });

  it('signs with the new key only a request for that key and its own UID', async () => {
    covers('T28');
    const { sealed, point, rekey } = await inRepair();
    const next = await rekey();
    for (const cri of [requestFor(point), requestFor(makeKey().point), requestFor(next, 'ff'.repeat(16)), random(200)])
      await expect(sealed.request('signCri', { cri })).rejects.toThrow(refused('bad-arg'));
  });

  it('stays what it was when the certificate is not for the new key and registration, or not of a believed authority', async () => {
    const { made, sealed, point, rekey } = await inRepair();
    const next = await rekey();
    const other = await makeOem();
    await expect(put(sealed, { deviceCertificate: await certify(next) })).rejects.toThrow(refused('bad-state'));
    await put(sealed, { objId: nextObjId });
    for (const wrong of [await certify(point), await certify(next, oem.ica, new Uint8Array(16).fill(2)), await certify(next, other.ica)])
      await expect(put(sealed, { deviceCertificate: wrong })).rejects.toThrow(refused('policy'));
    const foreign = { rootCertificate: other.root.der, icaCertificate: other.ica.der };
    await expect(put(sealed, { ...foreign, deviceCertificate: await certify(next, other.ica) })).rejects.toThrow(refused('policy'));
    await expect(put(sealed, { objId })).rejects.toThrow(refused('policy'));
    expect(made.board.chip.data.get('objId')).toEqual(objId);
    expect(made.board.chip.keyStore.publicKey(authKeySlot)).toEqual(point);
    await put(sealed, { rootCertificate: oem.root.der, icaCertificate: oem.ica.der, deviceCertificate: await certify(next) });
    expect(made.board.chip.data.get('objId')).toEqual(nextObjId);
  });

  it('hangs on the authorities of today, which its trust bundle names, and shows their chain', async () => {
    const { made, sealed, rekey } = await inRepair();
    const root = await makeRoot();
    const ica = await makeIca(root);
    const known = await verifyTrustBundle(oem.bundle, oem.root.key.spki);
    const issuers = [...known.issuers, { icaId: 'device-2', use: 'device', certificate: ica.der }];
    const roots = [oem.root.der, root.der];
    const newer = { ...known, version: 2, issuedAtSeconds: 1_900_000_000, roots, issuers };
    const bundle = await signTrustBundle(newer, signerOf(oem.root.key));
    const next = await rekey();
    await put(sealed, { bundle, objId: nextObjId, rootCertificate: root.der, icaCertificate: ica.der });
    await put(sealed, { deviceCertificate: await certify(next, ica) });
    await made.devAuth.request('reset', { mode: 'bootloader' });
    expect(made.board.chip.data.get('identityRoot')).toEqual(root.der);
    const seen: (readonly Uint8Array[])[] = [];
    const watching: Oem = {
      ...oem,
      trust: chain => {
        seen.push(chain);
        return next;
      },
    };
    await openSession(made.client, watching);
    expect(seen[0]?.map(toHex)).toEqual([root.der, ica.der, made.board.chip.data.get('deviceCertificate')!].map(toHex));
  });

  it('is wholly the old or wholly the new one after a power cut anywhere', async () => {
    const storage = newStorage();
    const { made, sealed, point, rekey } = await inRepair(storage);
    const next = await rekey();
    await put(sealed, { objId: nextObjId });
    const certificate = await certify(next);
    const keys = storage.keys.load()!;
    await made.close();
    const outcomes = new Set<string>();
    for (let operations = 0; !outcomes.has('done'); operations += 1) {
      const copy: MemoryStorage = { ...newStorage(storage), keys: storage.keys };
      copy.keys.save(keys);
      const cut = await putNext(newChip(copy, powerFor(operations)), 'deviceCertificate', certificate).then(
        () => 'done',
        (error: unknown) => (error instanceof PowerCut ? 'cut' : Promise.reject(error)),
      );
      const again = await bench(newChip({ ...newStorage(copy), keys: copy.keys }));
      const isNew = toHex((await hello(again.devAuth)).objId!) === toHex(nextObjId);
      const { receipt } = await again.devAuth.request('receipt', { nonce: nextObjId });
      const expected = { uid, nonce: nextObjId, ...(isNew ? { publicKey: next, objId: nextObjId } : { publicKey: point, objId }) };
      await expect(verifyReceipt(receipt, expected), `${operations}`).resolves.toBeDefined();
      await expect(openSession(again.client, oem), `${operations}`).resolves.toBeDefined();
      outcomes.add(cut).add(isNew ? 'new' : 'old');
      await again.close();
    }
    expect([...outcomes].toSorted()).toEqual(['cut', 'done', 'new', 'old']);
  });

  it('leaves the boot keys in OTP as they are', async () => {
    covers('I5');
    const { made, sealed, rekey } = await inRepair();
    const burned = [otpMap.bootKeyX, otpMap.bootKeyY, otpMap.applicationKeyHash].map(({ slot }) => made.board.chip.otp.read(slot));
    await put(sealed, { objId: nextObjId, deviceCertificate: await certify(await rekey()) });
    await made.devAuth.request('reset', { mode: 'normal' });
    expect([otpMap.bootKeyX, otpMap.bootKeyY, otpMap.applicationKeyHash].map(({ slot }) => made.board.chip.otp.read(slot))).toEqual(burned);
  });
});
