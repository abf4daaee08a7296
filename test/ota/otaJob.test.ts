import { createDecipheriv, createHash, createPrivateKey, hkdfSync, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat, equalBytes, utf8 } from '../../src/bytes.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import { rawSigner, sign1 } from '../../src/cose/sign1.ts';
import { sha256 } from '../../src/digest.ts';
import {
  blockTagBytes,
  bodyBlockHashes,
  deliveryBlockHashes,
  isBlock,
  openBlock,
  openBlockChannel,
  sealBlock,
} from '../../src/ota/blocks.ts';
import {
  blockCount,
  type JobTarget,
  jobContentType,
  jobDigestOf,
  judgeJob,
  type OtaJob,
  signJob,
  verifyJob,
} from '../../src/ota/otaJob.ts';
import { covers } from '../support/covers.ts';
import { privateKey, publicKey } from './vectors.ts';

const signer = createPrivateKey({ key: Buffer.from(privateKey('sign-p256')), format: 'der', type: 'pkcs8' });
const es256 = rawSigner(async message => sign('sha256', message, signer));
const kid = Uint8Array.of(1, 2, 3, 4);
const resolveKey = (wanted: Uint8Array) => (equalBytes(wanted, kid) ? publicKey('sign-p256') : undefined);

const body = createHash('shake256', { outputLength: 5000 }).update('body').digest();
const trailer = createHash('shake256', { outputLength: 211 }).update('trailer').digest();
const delivery = { body: new Uint8Array(body), trailer: new Uint8Array(trailer) };
const sixteen = (fill: number) => new Uint8Array(16).fill(fill);

const job: OtaJob = {
  format: 1,
  otaJobId: sixteen(1),
  uid: sixteen(2),
  imageHash: new Uint8Array(32).fill(3),
  imageBytes: 5211,
  version: { major: 2, minor: 0, revision: 1, build: 77 },
  securityCounter: 6,
  blockBytes: 1024,
  blockHashes: deliveryBlockHashes(delivery, 1024),
  expiresAtSeconds: 2_000_000_000,
  sequence: 12,
  dependencies: [{ imageId: 1, minVersion: { major: 1, minor: 0, revision: 0, build: 0 } }],
  vendorUuid: sixteen(4),
  classUuid: sixteen(5),
};
const target: JobTarget = {
  uid: sixteen(2),
  vendorUuid: sixteen(4),
  classUuid: sixteen(5),
  securityCounter: 5,
  slotBytes: 8192,
  nowSeconds: 1_900_000_000,
};

describe('the signed job', () => {
  it('reads back, with the digest of its bytes', async () => {
    const signed = await signJob(job, kid, es256);
    expect(await verifyJob(signed, resolveKey)).toEqual({ job, jobDigest: jobDigestOf(signed) });
  });

  it('is refused whichever byte of it changes (T21)', async () => {
    covers('T21');
    const signed = await signJob(job, kid, es256);
    for (let at = 0; at < signed.length; at += 1) {
      const changed = signed.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      await expect(verifyJob(changed, resolveKey)).rejects.toMatchObject({ code: expect.stringMatching(/^(COSE|CBOR)_/) });
    }
  });

  it('is refused from another key and as another kind of message', async () => {
    const other = createPrivateKey({ key: Buffer.from(privateKey('other-p256')), format: 'der', type: 'pkcs8' });
    const forged = await signJob(
      job,
      kid,
      rawSigner(async message => sign('sha256', message, other)),
    );
    await expect(verifyJob(forged, resolveKey)).rejects.toMatchObject({ code: 'COSE_SIGNATURE' });
    const signed = await sign1({ kid, type: 'application/nusec-other', payload: encodeCbor(1) }, es256);
    await expect(verifyJob(signed, resolveKey)).rejects.toMatchObject({ code: 'COSE_MALFORMED' });
    const empty = await sign1({ kid, type: jobContentType, payload: encodeCbor(new Map()) }, es256);
    await expect(verifyJob(empty, resolveKey)).rejects.toMatchObject({ code: 'CBOR_MALFORMED' });
  });

  it.each<[string, Partial<OtaJob>]>([
    ['a missing block hash', { blockHashes: job.blockHashes.subarray(32) }],
    ['blocks that are too long', { blockBytes: 65537, imageBytes: 65537, blockHashes: new Uint8Array(32) }],
    ['a version beyond its fields', { version: { major: 256, minor: 0, revision: 0, build: 0 } }],
    ['an empty image', { imageBytes: 0 }],
  ])('is not written with %s', async (_, change) => {
    await expect((async () => signJob({ ...job, ...change }, kid, es256))()).rejects.toMatchObject({ code: 'CBOR_MALFORMED' });
  });
});

describe('what the device thinks of a job', () => {
  it.each<[string, Partial<JobTarget>, string | undefined]>([
    ['takes its own', {}, undefined],
    ['refuses one for another device (RULE-12)', { uid: sixteen(9) }, 'other-device'],
    ['refuses another vendor (T13)', { vendorUuid: sixteen(9) }, 'other-product'],
    ['refuses another class (T13)', { classUuid: sixteen(9) }, 'other-product'],
    ['refuses an expired one', { nowSeconds: 2_000_000_000 }, 'expired'],
    ['refuses an older one than the last', { lastJob: { sequence: 13, otaJobId: sixteen(1) } }, 'replayed'],
    ['refuses another one with the number of the last', { lastJob: { sequence: 12, otaJobId: sixteen(8) } }, 'replayed'],
    ['resumes the last one', { lastJob: { sequence: 12, otaJobId: sixteen(1) } }, undefined],
    ['refuses a lower counter (T12, I9)', { securityCounter: 7 }, 'rollback'],
    ['refuses more than its slot holds', { slotBytes: 5210 }, 'too-large'],
  ])('%s', (_, change, refusal) => {
    expect(judgeJob(job, { ...target, ...change })).toBe(refusal);
  });

  it('needs no clock', () => {
    const { nowSeconds: _, ...clockless } = target;
    expect(judgeJob({ ...job, expiresAtSeconds: 1 }, clockless)).toBeUndefined();
  });
});

describe('blocks', () => {
  const signedJob = { job, jobDigest: new Uint8Array(32).fill(6) };
  const secret = new Uint8Array(32).fill(7);
  const channel = openBlockChannel(secret, signedJob);
  const whole = Buffer.concat([delivery.body, delivery.trailer]);
  const block = (index: number) => new Uint8Array(whole.subarray(index * job.blockBytes, (index + 1) * job.blockBytes));

  it('cover body and trailer without a gap', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6000 }), blockBytes => {
        const count = Math.ceil(whole.length / blockBytes);
        const hashes = Array.from({ length: count }, (_, i) =>
          createHash('sha256')
            .update(whole.subarray(i * blockBytes, (i + 1) * blockBytes))
            .digest(),
        );
        expect(Buffer.concat(hashes).equals(deliveryBlockHashes(delivery, blockBytes, bodyBlockHashes(delivery.body, blockBytes)))).toBe(
          true,
        );
      }),
    );
  });

  it('open again at the other end, and only there', () => {
    for (let index = 0; index < blockCount(job); index += 1) {
      const sealed = concat(...sealBlock(channel, delivery, index));
      expect(sealed.length).toBe(block(index).length + blockTagBytes);
      expect(openBlock(channel, index, sealed)).toEqual(block(index));
      expect(openBlock(channel, index + 1, sealed)).toBeUndefined();
      expect(openBlock(openBlockChannel(new Uint8Array(32), signedJob), index, sealed)).toBeUndefined();
      expect(openBlock(openBlockChannel(secret, { job, jobDigest: new Uint8Array(32) }), index, sealed)).toBeUndefined();
    }
  });

  it('have the nonce and the associated data that the device contract names, in whatever order they are asked for (R94, RULE-13)', () => {
    const key = hkdfSync('sha256', secret, signedJob.jobDigest, 'NuSEC OTA blocks v1', 32);
    const u32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
    for (const index of [2, 0, 1, 2]) {
      const [ciphertext, tag] = sealBlock(channel, delivery, index);
      const nonce = concat(sha256(job.otaJobId).subarray(0, 8), u32(index));
      const decipher = createDecipheriv('aes-256-gcm', new Uint8Array(key), nonce, { authTagLength: blockTagBytes });
      decipher.setAAD(concat(utf8('NuSEC-OTA-1'), job.otaJobId, u32(index), u32(blockCount(job)))).setAuthTag(tag);
      expect(concat(decipher.update(ciphertext), decipher.final())).toEqual(block(index));
    }
  });

  it('are refused when any byte is changed or cut (T21)', () => {
    covers('T21');
    const sealed = concat(...sealBlock(channel, delivery, 5));
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = sealed.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x80;
      expect(openBlock(channel, 5, changed)).toBeUndefined();
      expect(openBlock(channel, 5, sealed.subarray(0, at))).toBeUndefined();
    }
  });

  it('never share key and nonce between different contents: only what the job names is sealed', () => {
    const refused = expect.objectContaining({ code: 'IMAGE_REFUSED' });
    const changed = delivery.body.map((byte, at) => (at === 1500 ? byte ^ 1 : byte));
    expect(() => sealBlock(channel, { ...delivery, body: changed }, 1)).toThrow(refused);
    expect(() => sealBlock(channel, delivery, 99)).toThrow(refused);
    const bodyHashes = bodyBlockHashes(delivery.body, job.blockBytes);
    for (const index of [0, 3, 4, 5])
      expect(sealBlock(channel, { ...delivery, bodyHashes }, index)).toEqual(sealBlock(channel, delivery, index));
    const ofAnother = bodyBlockHashes(changed, job.blockBytes);
    expect(() => sealBlock(channel, { ...delivery, bodyHashes: ofAnother }, 1)).toThrow(refused);
    expect(isBlock(job, 1, block(1))).toBe(true);
    expect(() => openBlockChannel(new Uint8Array(16), signedJob)).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
  });

  it('are refused when they are not what the job names, even from the right sender', () => {
    const other = { body: new Uint8Array(job.blockBytes), trailer: delivery.trailer };
    const lying = { ...channel, job: { ...job, blockHashes: deliveryBlockHashes(other, job.blockBytes) } };
    const sealed = concat(...sealBlock(lying, other, 0));
    expect(openBlock(channel, 0, sealed)).toBeUndefined();
  });

  it('show nothing of the image on the way (RULE-13)', () => {
    covers('RULE-13', 'R94');
    const sealed = Buffer.from(concat(...sealBlock(channel, delivery, 0)));
    expect(sealed.includes(Buffer.from(block(0).subarray(0, 16)))).toBe(false);
  });
});
