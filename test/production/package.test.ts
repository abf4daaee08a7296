import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat, equalBytes, toHex } from '../../src/bytes.ts';
import { assembleEncrypt0, encodeEncrypt0Protected, encrypt0Aad } from '../../src/cose/encrypt0.ts';
import { contentOpenWith } from '../../src/production/contentKey.ts';
import {
  type ContentSeal,
  maxPackageBytes,
  openPackage,
  type PackagePayload,
  type PackageReader,
  sealPackage,
} from '../../src/production/package.ts';
import { everyByteFlipped, testKey } from '../cose/keys.ts';
import { decodeWithCborX } from '../support/cborX.ts';
import { covers } from '../support/covers.ts';
import { fill, jobId, now, packageId, payload, progUid, sealWith, uidA } from './samples.ts';

const aesNuLink3 = fill(0x11, 32);
const epoch = 2;
const iv = fill(0x22, 12);
const signer = testKey();
const seal = (value: PackagePayload) => sealPackage({ payload: value, epoch, iv }, signer, sealWith(aesNuLink3));
const file = await seal(payload);

const reader: PackageReader = {
  contentOpenOf: asked => (asked === epoch ? contentOpenWith(aesNuLink3) : undefined),
  progUid,
  packageKeys: kid => (equalBytes(kid, signer.kid) ? signer.spki : undefined),
  nowSeconds: now,
  lastSequence: () => 2,
};
const refusal = { code: 'PACKAGE_REFUSED', message: 'the package is refused' };
const isRefused = (bytes: Uint8Array, changes: Partial<PackageReader> = {}) =>
  expect(openPackage(bytes, { ...reader, ...changes })).rejects.toMatchObject(refusal);

describe('production package', () => {
  it('brings count, job token, images and UIDs to its programmer (R57, R58, R105)', async () => {
    covers('R57', 'R58', 'R105');
    expect(await openPackage(file, reader)).toEqual(payload);
  });

  it('has the layout of its page for an independent decoder', () => {
    expect(toHex(file.slice(0, 24))).toBe(`4e4a5031${toHex(packageId)}00000002`);
    const outer = decodeWithCborX(file.slice(24));
    const head = decodeWithCborX(outer.value[0]);
    const kid = createHash('sha256')
      .update(progUid)
      .update(Uint8Array.of(0, 0, 0, epoch))
      .digest()
      .subarray(0, 8);
    expect(outer.tag).toBe(16);
    expect([head.get(1), head.get(16)]).toEqual([3, 'application/nusec-njp']);
    expect(toHex(head.get(4))).toBe(toHex(kid));
  });

  it('is refused with one constant text for every changed byte, cut or addition (R61, RULE-6, T4)', async () => {
    covers('R61', 'R63', 'RULE-6', 'T4');
    for (const changed of everyByteFlipped(file)) await isRefused(changed);
    for (let length = 0; length < file.length; length += 7) await isRefused(file.slice(0, length));
    await isRefused(new Uint8Array([...file, 0]));
  });

  it('shows nothing of what it carries (R106, T4)', () => {
    covers('R106', 'T4');
    const secrets = [jobId, progUid, uidA, Buffer.from('nusec.example.com'), Buffer.from('ica/device/1'), fill(0x51, 32), signer.kid];
    for (const secret of secrets) expect(Buffer.from(file).includes(Buffer.from(secret))).toBe(false);
  });

  it('refuses a package signed by a holder of AES_NuLink3 (T5)', async () => {
    covers('T5');
    const forger = testKey();
    await isRefused(await sealPackage({ payload, epoch, iv }, forger, sealWith(aesNuLink3)));
    await isRefused(await sealPackage({ payload, epoch, iv }, { kid: signer.kid, sign: forger.sign }, sealWith(aesNuLink3)));
  });

  it('refuses a package for another programmer, with another key or with the same one (T6)', async () => {
    covers('T6');
    await isRefused(file, { progUid: fill(0xa2) });
    await isRefused(file, { contentOpenOf: () => contentOpenWith(fill(0x12, 32)) });
    await isRefused(file, { contentOpenOf: () => undefined });
    await isRefused(await seal({ ...payload, progUid: fill(0xa2) }));
  });

  it('refuses a genuine inner package that a holder of AES_NuLink3 put under another head (T5)', async () => {
    covers('T5');
    const otherId = fill(0xc4);
    const kid = createHash('sha256')
      .update(progUid)
      .update(Uint8Array.of(0, 0, 0, epoch))
      .digest()
      .subarray(0, 8);
    const resealed = async (packageIdInHead: Uint8Array, kidInHead: Uint8Array) => {
      const protectedBytes = encodeEncrypt0Protected({ kid: kidInHead, type: 'application/nusec-njp' });
      const head = concat(file.slice(0, 4), packageIdInHead, file.slice(20, 24));
      const move: ContentSeal = async (kdf, usedIv, _, signed) => {
        const aad = encrypt0Aad(protectedBytes, head);
        const ciphertext = await sealWith(aesNuLink3)({ ...kdf, salt: packageIdInHead }, usedIv, aad, signed);
        moved = concat(head, assembleEncrypt0({ protectedBytes, iv, ciphertext }));
        return ciphertext;
      };
      let moved: Uint8Array = new Uint8Array();
      await sealPackage({ payload, epoch, iv }, signer, move);
      return moved;
    };
    expect(await openPackage(await resealed(packageId, kid), reader)).toEqual(payload);
    await isRefused(await resealed(otherId, kid));
    await isRefused(await resealed(packageId, fill(0, 8)));
  });

  it('refuses a replayed package: the sequence must rise (T3, I13, RULE-4)', async () => {
    covers('T3', 'I13', 'RULE-4');
    const replayed = expect.objectContaining({ code: 'PACKAGE_REPLAYED' });
    await expect(openPackage(file, { ...reader, lastSequence: () => 3 })).rejects.toThrow(replayed);
    await expect(openPackage(file, { ...reader, lastSequence: () => 4 })).rejects.toThrow(replayed);
    const asked: Uint8Array[] = [];
    await openPackage(file, { ...reader, lastSequence: job => void asked.push(job) });
    expect(asked).toEqual([jobId]);
  });

  it('refuses an expired package where there is a clock', async () => {
    const { nowSeconds: _, ...withoutClock } = reader;
    const expired = expect.objectContaining({ code: 'PACKAGE_EXPIRED' });
    await expect(openPackage(file, { ...reader, nowSeconds: payload.expiresAtSeconds })).rejects.toThrow(expired);
    expect(await openPackage(file, withoutClock)).toEqual(payload);
  });

  it('carries 2 000 UIDs as a list and more as the root of a tree (R57)', async () => {
    covers('R57');
    const uids = Array.from({ length: 2001 }, (_, n) => Uint8Array.of(n >> 8, n & 0xff, ...fill(0, 14)));
    for (const rule of [null, { uids: uids.slice(0, 2000) }, { merkleRoot: fill(3, 32), count: uids.length }]) {
      const sealed = await seal({ ...payload, uids: rule });
      expect(sealed.length).toBeLessThan(maxPackageBytes);
      expect((await openPackage(sealed, reader)).uids).toEqual(rule);
    }
  });

  it('refuses to write what it would not read', async () => {
    const malformed = expect.objectContaining({ code: 'CBOR_MALFORMED' });
    await expect(seal({ ...payload, jobId: fill(1, 15) })).rejects.toThrow(malformed);
    await expect(seal({ ...payload, sequence: 0 })).rejects.toThrow(malformed);
    await expect(seal({ ...payload, images: [] })).rejects.toThrow(malformed);
    await expect(seal({ ...payload, uids: { uids: [fill(2), fill(1)] } })).rejects.toThrow(malformed);
  });

  it('refuses anything else that is sent in, in bounded time (T27)', async () => {
    covers('T27');
    await isRefused(new Uint8Array(maxPackageBytes + 1));
    const edits = fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(edits, async list => {
        const bytes = file.slice();
        for (const [at, byte] of list) bytes[at] = byte;
        fc.pre(!equalBytes(bytes, file));
        await isRefused(bytes);
      }),
    );
  });
});
