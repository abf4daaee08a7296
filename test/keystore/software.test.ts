import {
  createDecipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
  verify,
} from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex, utf8 } from '../../src/bytes.ts';
import type { Keystore } from '../../src/keystore/port.ts';
import { newKeystore, openKeystore, temporaryFolder } from './temporary.ts';

const message = utf8('firmware hash');

function verifies(hash: string, spki: Uint8Array, signature: Uint8Array): boolean {
  return verify(hash, message, createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }), signature);
}

describe('keys of the software keystore', () => {
  it('generates CA and boot keys inside and gives only their public halves (R1, R18, R101, RULE-1)', async () => {
    const keystore = await newKeystore();
    const root = await keystore.generate('root/1', 'P-384');
    const ica = await keystore.generate('ica/device/1', 'P-256');
    expect([root.publicKey?.length, ica.publicKey?.length]).toEqual([120, 91]);
    expect(await keystore.publicKey('root/1')).toEqual(root.publicKey);
    expect(Object.keys(root).sort()).toEqual(['algorithm', 'createdAt', 'id', 'publicKey']);
  });

  it.each([
    ['P-256', 'sha256'],
    ['P-384', 'sha384'],
  ] as const)('signs with %s over %s, in DER (R20, R102)', async (algorithm, hash) => {
    const keystore = await newKeystore();
    const { publicKey } = await keystore.generate('k', algorithm);
    const signature = await keystore.sign('k', message);
    expect(verifies(hash, publicKey as Uint8Array, signature)).toBe(true);
  });

  it('keeps every key over a restart, and forgets destroyed ones', async () => {
    const file = join(temporaryFolder(), 'keyset');
    const first = await openKeystore(file);
    await Promise.all([first.generate('a', 'P-256'), first.generate('b', 'AES-256'), first.generate('c', 'P-384')]);
    const [mac, before] = [await first.mac('b', message), await first.list()];
    await first.destroy('c');
    await first.close();

    const second = await openKeystore(file, { create: false });
    expect(await second.list()).toEqual(before.filter(each => each.id !== 'c'));
    expect(await second.mac('b', message)).toEqual(mac);
    expect(verifies('sha256', await second.publicKey('a'), await second.sign('a', message))).toBe(true);
    await expect(second.sign('c', message)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    await expect(second.destroy('c')).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
  });

  it('stores fifty keys asked for at once in a few rewrites of the file', async () => {
    let bodyIvs = 0;
    const counting = (bytes: number): Uint8Array => {
      if (bytes === 12) bodyIvs += 1;
      return randomBytes(bytes);
    };
    const file = join(temporaryFolder(), 'keyset');
    const keystore = await openKeystore(file, { randomBytes: counting });
    bodyIvs = 0;
    const made = await Promise.all(Array.from({ length: 50 }, (_, index) => keystore.generate(`key/${index}`, 'P-256')));
    expect(new Set(made.map(each => toHex(each.publicKey as Uint8Array))).size).toBe(50);
    expect(bodyIvs).toBeLessThan(25);
    await keystore.close();
    expect(await (await openKeystore(file)).list()).toHaveLength(50);
  });

  it('makes one key of one id, however many ask (I5)', async () => {
    const keystore = await newKeystore();
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => keystore.generate('root/1', 'P-256')));
    expect(outcomes.filter(each => each.status === 'fulfilled')).toHaveLength(1);
    for (const each of outcomes) if (each.status === 'rejected') expect(each.reason).toMatchObject({ code: 'KEY_EXISTS' });
    await expect(keystore.generate('root/1', 'AES-256')).rejects.toMatchObject({ code: 'KEY_EXISTS' });
  });

  it('holds fifty thousand keys and refuses one more', async () => {
    const keystore = await newKeystore();
    const outcomes = await Promise.allSettled(Array.from({ length: 50_001 }, (_, index) => keystore.generate(`kek/${index}`, 'AES-256')));
    expect(outcomes.filter(each => each.status === 'rejected')).toMatchObject([{ reason: { code: 'KEY_REFUSED' } }]);
    expect(await keystore.list()).toHaveLength(50_000);
  });

  it.each(['', '/root', 'a b', 'a\n', 'ä', 'x'.repeat(201)])('refuses the key id %j', async id => {
    const keystore = await newKeystore();
    await expect(keystore.generate(id, 'P-256')).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });

  it('refuses a key for what it is not made for', async () => {
    const keystore = await newKeystore();
    await Promise.all([keystore.generate('p256', 'P-256'), keystore.generate('p384', 'P-384'), keystore.generate('aes', 'AES-256')]);
    const kdf = { salt: new Uint8Array(1), info: new Uint8Array(1) };
    const misuses = [
      () => keystore.sign('aes', message),
      () => keystore.publicKey('aes'),
      () => keystore.derive('aes', new Uint8Array(65), kdf, 'new'),
      () => keystore.derive('p384', new Uint8Array(65), kdf, 'new'),
      () => keystore.mac('p256', message),
      () => keystore.seal('p256', kdf, new Uint8Array(12), message, message),
      () => keystore.seal('aes', kdf, new Uint8Array(11), message, message),
      () => keystore.generateWrapped('p256', 'context'),
      () => keystore.signWrapped('p256', 'context', new Uint8Array(152), message),
    ];
    for (const misuse of misuses) await expect(misuse(), misuse.toString()).rejects.toMatchObject({ code: 'KEY_REFUSED' });
  });
});

describe('agreed keys', () => {
  it('agrees AES_NuLink3 with a programmer over ECDH and HKDF, and it never leaves (R27–R34)', async () => {
    const keystore = await newKeystore();
    await keystore.generate('ephemeral', 'P-256');
    const programmer = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const kdf = { salt: utf8('nonces'), info: utf8('NuSEC AES_NuLink3 v1') };
    const info = await keystore.derive('ephemeral', pointOf(programmer.publicKey), kdf, 'programmer-kek/1');
    expect(Object.keys(info).sort()).toEqual(['algorithm', 'createdAt', 'id']);

    const server = createPublicKey({ key: Buffer.from(await keystore.publicKey('ephemeral')), format: 'der', type: 'spki' });
    const shared = diffieHellman({ privateKey: programmer.privateKey, publicKey: server });
    const key = new Uint8Array(hkdfSync('sha256', shared, kdf.salt, kdf.info, 32));
    expect(await keystore.mac('programmer-kek/1', message)).toEqual(new Uint8Array(createHmac('sha256', key).update(message).digest()));
    await expectSealsUnder(keystore, 'programmer-kek/1', key);
  });

  it.each([
    ['a point off the curve', fromHex(`04${'11'.repeat(64)}`)],
    ['a compressed point', fromHex(`02${'11'.repeat(32)}`)],
    ['the point at infinity', fromHex('00')],
    ['an empty key', new Uint8Array(0)],
  ])('refuses %s from the peer', async (_, point) => {
    const keystore = await newKeystore();
    await keystore.generate('ephemeral', 'P-256');
    const kdf = { salt: new Uint8Array(0), info: new Uint8Array(0) };
    await expect(keystore.derive('ephemeral', point, kdf, 'kek')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    expect(await keystore.list()).toHaveLength(1);
  });

  it('seals under HKDF-SHA-256, reckoned apart and checked against RFC 5869 test case 1', async () => {
    const firstBlock = hkdf32(new Uint8Array(22).fill(0x0b), fromHex('000102030405060708090a0b0c'), fromHex('f0f1f2f3f4f5f6f7f8f9'));
    expect(toHex(firstBlock)).toBe('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf');
    const key = new Uint8Array(32).fill(0x0b);
    const keystore = await newKeystore({ randomBytes: bytes => (bytes === 32 ? key.slice() : randomBytes(bytes)) });
    await keystore.generate('aes', 'AES-256');
    await expectSealsUnder(keystore, 'aes', key);
  });
});

describe('a closed or failing keystore', () => {
  it('answers nothing once closed', async () => {
    const keystore = await newKeystore();
    await keystore.generate('k', 'P-256');
    await keystore.close();
    await keystore.close();
    for (const call of [() => keystore.sign('k', message), () => keystore.list(), () => keystore.generate('n', 'P-256')]) {
      await expect(call()).rejects.toMatchObject({ code: 'KEYSTORE_LOCKED' });
    }
    expect(await keystore.health()).toMatchObject({ ok: false });
  });

  it('acknowledges no key it could not write, says so in its health, and recovers', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'keyset');
    const keystore = await openKeystore(file);
    await keystore.generate('k', 'P-256');
    mkdirSync(`${file}.tmp`);
    await expect(keystore.generate('lost', 'P-256')).rejects.toThrow();
    await expect(keystore.destroy('k')).rejects.toThrow();
    expect(await keystore.health()).toMatchObject({ ok: false });
    expect((await keystore.list()).map(each => each.id)).toEqual(['k']);

    rmSync(`${file}.tmp`, { recursive: true });
    await keystore.generate('lost', 'P-256');
    expect(await keystore.health()).toEqual({ ok: true, detail: 'software, 2 keys' });
    expect(readdirSync(folder).sort()).toEqual(['keyset', 'keyset.lock']);
  });
});

const pointOf = (key: ReturnType<typeof createPublicKey>): Uint8Array => key.export({ format: 'der', type: 'spki' }).subarray(-65);

/** HKDF written out with HMAC (RFC 5869 §2.2, §2.3), so that the driver's own HKDF call is not its judge. */
function hkdf32(key: Uint8Array, salt: Uint8Array, info: Uint8Array): Uint8Array {
  const extracted = createHmac('sha256', salt).update(key).digest();
  return createHmac('sha256', extracted).update(info).update(Uint8Array.of(1)).digest();
}

async function expectSealsUnder(keystore: Keystore, id: string, key: Uint8Array): Promise<void> {
  const [salt, info, iv, aad] = [utf8('package id'), utf8('NuSEC NJP-1 CEK v1'), new Uint8Array(12).fill(7), utf8('head')];
  const sealed = await keystore.seal(id, { salt, info }, iv, aad, message);
  expect(sealed).toHaveLength(message.length + 16);
  const decipher = createDecipheriv('aes-256-gcm', hkdf32(key, salt, info), iv).setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-16));
  expect(Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()])).toEqual(Buffer.from(message));
}
