import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { describeKeystore, expectSealsUnder, hkdf32 } from './contract.ts';
import { newKeystore, openKeystore, temporaryFolder } from './temporary.ts';

let file: string;
beforeEach(() => {
  file = join(temporaryFolder(), 'keyset');
});
describeKeystore('software', () => openKeystore(file));

describe('the software keystore', () => {
  it('stores fifty keys asked for at once in a few rewrites of the file', async () => {
    let bodyIvs = 0;
    const counting = (bytes: number): Uint8Array => {
      if (bytes === 12) bodyIvs += 1;
      return randomBytes(bytes);
    };
    const keystore = await openKeystore(file, { randomBytes: counting });
    bodyIvs = 0;
    const made = await Promise.all(Array.from({ length: 50 }, (_, index) => keystore.generate(`key/${index}`, 'P-256')));
    expect(new Set(made.map(each => toHex(each.publicKey as Uint8Array))).size).toBe(50);
    expect(bodyIvs).toBeLessThan(25);
    await keystore.close();
    expect(await (await openKeystore(file)).list()).toHaveLength(50);
  });

  it('holds fifty thousand keys and refuses one more', async () => {
    const keystore = await newKeystore();
    const outcomes = await Promise.allSettled(Array.from({ length: 50_001 }, (_, index) => keystore.generate(`kek/${index}`, 'AES-256')));
    expect(outcomes.filter(each => each.status === 'rejected')).toMatchObject([{ reason: { code: 'KEYSTORE_UNAVAILABLE' } }]);
    expect(await keystore.list()).toHaveLength(50_000);
  });

  it('seals under HKDF-SHA-256, reckoned apart and checked against RFC 5869 test case 1', async () => {
    const firstBlock = hkdf32(new Uint8Array(22).fill(0x0b), fromHex('000102030405060708090a0b0c'), fromHex('f0f1f2f3f4f5f6f7f8f9'));
    expect(toHex(firstBlock)).toBe('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf');
    const key = new Uint8Array(32).fill(0x0b);
    const keystore = await newKeystore({ randomBytes: bytes => (bytes === 32 ? key.slice() : randomBytes(bytes)) });
    await keystore.generate('aes', 'AES-256');
    await expectSealsUnder(keystore, 'aes', key);
  });

  it('without its file: keys that are known sign, its health says so, and it recovers by itself when the file is back', async () => {
    const keystore = await openKeystore(file);
    await keystore.generate('k', 'P-256');
    renameSync(file, `${file}.away`);
    expect(await keystore.health()).toEqual({ ok: false, detail: `not read: ${file} is not there any more` });
    await expect(keystore.generate('lost', 'P-256')).rejects.toMatchObject({ code: 'KEYSTORE_MISSING' });
    expect((await keystore.sign('k', new Uint8Array(1))).length).toBeGreaterThan(60);
    renameSync(`${file}.away`, file);
    expect(await keystore.health()).toEqual({ ok: true, detail: 'software, 1 keys' });
  });

  it('acknowledges no key it could not write, says so in its health, and recovers', async () => {
    const folder = temporaryFolder();
    file = join(folder, 'keyset');
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
