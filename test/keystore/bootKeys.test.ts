import { createPublicKey, verify } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { toHex, utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { bootKeyId, createBootKeys } from '../../src/keystore/bootKeys.ts';
import { type Custody, openCustody } from '../../src/keystore/custody.ts';
import { covers } from '../support/covers.ts';
import { forgeRows } from './forgedRows.ts';
import { newKeystore, temporaryFolder } from './temporary.ts';

const uid = new Uint8Array(16).fill(0xa1);
const objId = new Uint8Array(16).fill(0xb2);
const keyId = bootKeyId(uid, objId, 'bl2');
const image = utf8('bootloader');
const custodies: Custody[] = [];
afterEach(() => Promise.all(custodies.splice(0).map(custody => custody.close())));

async function setUp() {
  const file = join(temporaryFolder(), 'custody.db');
  const custody = openCustody(file);
  custodies.push(custody);
  const keystore = await newKeystore();
  await keystore.generate('kek/1', 'AES-256');
  return { file, custody, keystore, bootKeys: createBootKeys(keystore, custody, async () => 'kek/1') };
}

const isSigned = (spki: Uint8Array, signature: Uint8Array) =>
  verify('sha256', image, createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }), signature);

describe('per-device boot keys', () => {
  it('names a key by device, registration and slot', () => {
    expect(keyId).toBe(`boot/${'a1'.repeat(16)}/${'b2'.repeat(16)}/bl2`);
  });

  it('makes one key for twenty callers at once, and signs with it (I5)', async () => {
    covers('I5');
    const { custody, keystore } = await setUp();
    const generateWrapped = vi.fn(keystore.generateWrapped);
    const bootKeys = createBootKeys({ ...keystore, generateWrapped }, custody, async () => 'kek/1');
    const keys = await Promise.all(Array.from({ length: 20 }, () => bootKeys.ensure(keyId)));
    expect(generateWrapped).toHaveBeenCalledTimes(1);
    expect(new Set(keys.map(toHex)).size).toBe(1);
    expect(await custody.count()).toBe(1);
    expect(toHex(await bootKeys.ensure(keyId))).toBe(toHex(keys[0] as Uint8Array));
    expect(isSigned(keys[0] as Uint8Array, await bootKeys.sign(keyId, sha256(image)))).toBe(true);
  });

  it('makes one key for two servers over one custody (I5)', async () => {
    covers('I5');
    const { bootKeys, keystore, file } = await setUp();
    const there = openCustody(file);
    custodies.push(there);
    const [a, b] = await Promise.all([bootKeys.ensure(keyId), createBootKeys(keystore, there, async () => 'kek/1').ensure(keyId)]);
    expect(toHex(a)).toBe(toHex(b));
  });

  it('gives every device and slot its own key', async () => {
    const { bootKeys, custody } = await setUp();
    const ids = Array.from({ length: 40 }, (_, index) => bootKeyId(uid, new Uint8Array(16).fill(index), 'bl3'));
    const keys = await Promise.all(ids.map(id => bootKeys.ensure(id)));
    expect(new Set(keys.map(toHex)).size).toBe(40);
    expect(await custody.count()).toBe(40);
  });

  it('never makes a second key for a destroyed one, and signs no more with it (I5)', async () => {
    covers('I5');
    const { bootKeys } = await setUp();
    await bootKeys.ensure(keyId);
    await bootKeys.destroy(keyId);
    await expect(bootKeys.ensure(keyId)).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    await expect(bootKeys.sign(keyId, sha256(image))).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    await expect(bootKeys.sign('boot/other', sha256(image))).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
  });

  it('keeps signing under an earlier key-encryption key until that is destroyed', async () => {
    const { bootKeys, custody, keystore } = await setUp();
    const publicKey = await bootKeys.ensure(keyId);
    await keystore.generate('kek/2', 'AES-256');
    const rotated = createBootKeys(keystore, custody, async () => 'kek/2');
    expect(toHex(await rotated.ensure(keyId))).toBe(toHex(publicKey));
    expect(isSigned(publicKey, await rotated.sign(keyId, sha256(image)))).toBe(true);
    await keystore.destroy('kek/1');
    await expect(rotated.sign(keyId, sha256(image))).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    await keystore.generate('kek/1', 'AES-256');
    await expect(rotated.sign(keyId, sha256(image))).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
  });
});

describe('a custody database in the hands of an attacker', () => {
  async function tampered(sql: string) {
    const { bootKeys, file } = await setUp();
    await Promise.all([bootKeys.ensure(keyId), bootKeys.ensure('boot/other')]);
    forgeRows(file, sql, keyId);
    return bootKeys;
  }

  it('never has another public key burned than that of the private key', async () => {
    const swap = `UPDATE custody_key SET public_key = (SELECT public_key FROM custody_key WHERE key_id = 'boot/other') WHERE key_id = ?`;
    await expect((await tampered(swap)).ensure(keyId)).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
    const noise = `UPDATE custody_key SET public_key = x'0102' WHERE key_id = ?`;
    await expect((await tampered(noise)).ensure(keyId)).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
  });

  it.each(['wrapped', 'wrapped, public_key'])('refuses %s of another device moved into the row', async columns => {
    const [first] = columns.split(', ');
    const move = `UPDATE custody_key SET (${columns}) = (SELECT ${columns} FROM custody_key WHERE key_id = 'boot/other') WHERE key_id = ?`;
    const bootKeys = await tampered(columns === first ? move.replace('(wrapped)', 'wrapped') : move);
    await expect(bootKeys.ensure(keyId)).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
    await expect(bootKeys.sign(keyId, sha256(image))).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
  });
});
