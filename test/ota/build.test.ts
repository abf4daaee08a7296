import { createHash, createPrivateKey, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../src/digest.ts';
import { parseVersion } from '../../src/domain/version.ts';
import { attachTrailer, buildImage, deviceTrailer, encryptBody, referenceHash, signInput } from '../../src/ota/build.ts';
import { contentKey } from '../../src/ota/decrypt.ts';
import { wrapKey } from '../../src/ota/ecies.ts';
import { bodyBytesOf } from '../../src/ota/image.ts';
import { type ImageSpec, specOf } from '../../src/ota/spec.ts';
import { findTlv, tlvType } from '../../src/ota/tlv.ts';
import { verifyImage } from '../../src/ota/verify.ts';
import { covers } from '../support/covers.ts';
import { parseImage } from './parseImage.ts';
import { encP256, image, keyhash, otpKeyHash, privateKey, publicKey, slotBytes, vector } from './vectors.ts';

const signer = createPrivateKey({ key: Buffer.from(privateKey('sign-p256')), format: 'der', type: 'pkcs8' });
const hwKey = { slotBytes, signature: { algorithm: 'P-256', otpKeyHash } } as const;

const v1 = vector('payload/app-v1.bin');
const v2 = vector('payload/app-v2.bin');
const spec = (payload: Uint8Array, version: string, securityCounter?: number, more: Partial<ImageSpec> = {}): ImageSpec => ({
  payload,
  version: parseVersion(version),
  ...(securityCounter !== undefined && { securityCounter }),
  ...more,
});
const protectedTlv = (name: string, type: number) => findTlv(parseImage(image(name)).protectedTlvs, type) ?? new Uint8Array(0);
const six = '06-p256-bootrecord-uuid-custom.bin';

/** Our image with the signature (and ENC TLV) that the vector carries. */
function rebuild(name: string, of: ImageSpec, keyForm: 'whole' | 'hash'): Uint8Array {
  const parsed = parseImage(image(name));
  const built = buildImage(of);
  const encTlv = findTlv(parsed.tlvs, tlvType.encEc256);
  const cek = encTlv && contentKey(parsed.header, parsed, encP256);
  const signature = findTlv(parsed.tlvs, tlvType.ecdsaSignature) ?? new Uint8Array(0);
  const parts = { imageHash: built.imageHash, publicKey: publicKey('sign-p256'), keyForm, signature, ...(encTlv && { encTlv }) };
  return attachTrailer(cek && !name.includes('enc-clear') ? encryptBody(built, cek) : built.body, deviceTrailer(parts));
}

describe('buildImage makes what imgtool makes of the same inputs', () => {
  it.each<[string, ImageSpec, 'whole' | 'hash']>([
    ['01-p256-v1.0.0.bin', spec(v1, '1.0.0'), 'hash'],
    ['02-p256-v2.0.0-seccnt5.bin', spec(v2, '2.0.0+7', 5), 'hash'],
    ['03-p256-v1.2.3-seccnt-auto.bin', spec(v1, '1.2.3', (1 << 24) + (2 << 16) + 3), 'hash'],
    ['04-p256-fullpubkey-seccnt6.bin', spec(v2, '2.1.0', 6), 'whole'],
    [
      '05-p256-deps-seccnt5.bin',
      spec(v2, '2.0.0', 5, {
        dependencies: [
          { imageId: 1, minVersion: parseVersion('1.5.0') },
          { imageId: 0, minVersion: parseVersion('1.0.0+3') },
        ],
      }),
      'hash',
    ],
    [
      six,
      spec(v2, '2.0.0', 5, {
        bootRecord: protectedTlv(six, tlvType.bootRecord),
        vendorUuid: protectedTlv(six, tlvType.vendorUuid),
        classUuid: protectedTlv(six, tlvType.classUuid),
        extraTlvs: [
          { type: 0xa0, value: Uint8Array.of(0xde, 0xad, 0xbe, 0xef) },
          { type: 0xa1, value: new TextEncoder().encode('nusec') },
        ],
      }),
      'hash',
    ],
    ['07-p256-enc-aes128.bin', spec(v2, '2.0.0', 5, { encryptionBits: 128 }), 'hash'],
    ['08-p256-enc-aes256.bin', spec(v2, '2.0.0', 5, { encryptionBits: 256 }), 'hash'],
    ['09-p256-enc-aes128-oddlen.bin', spec(vector('payload/app-odd.bin'), '2.0.0', 5, { encryptionBits: 128 }), 'hash'],
    ['10-p256-enc-clear.bin', spec(v2, '2.0.0', 5, { encryptionBits: 128 }), 'hash'],
    ['23-p256-ramload.bin', spec(vector('payload/app-zero.bin'), '1.0.0', 1, { ramAddress: 0x2000_0000 }), 'hash'],
    ['24-p256-hsm-fixsig.bin', spec(v1, '3.0.0', 7), 'hash'],
  ])('%s is byte-identical', (name, of, keyForm) => {
    expect(Buffer.compare(rebuild(name, of, keyForm), image(name))).toBe(0);
  });

  it('keeps other header lengths byte-identical too: 0x20 and 0x400', () => {
    for (const [name, headerBytes] of [
      ['16-p256-H0x20-align8-confirm.bin', 0x20],
      ['18-p256-H0x400-align32-pad.bin', 0x400],
    ] as const) {
      const made = rebuild(name, spec(v1, '1.0.0', 1, { headerBytes }), 'hash');
      expect(Buffer.compare(made, image(name).subarray(0, made.length))).toBe(0);
    }
  });

  it('takes the digest that a signature made outside was over', () => {
    expect(Buffer.from(buildImage(spec(v1, '3.0.0', 7)).imageHash)).toEqual(Buffer.from(vector('images/24-hsm.digest')));
  });
});

describe('an image signed for one device (R93, RULE-12)', () => {
  const built = buildImage(spec(v2, '4.0.0', 9));
  const trailer = (message: Uint8Array, keyForm: 'whole' | 'hash' = 'whole', encTlv?: Uint8Array) =>
    deviceTrailer({
      imageHash: built.imageHash,
      publicKey: publicKey('sign-p256'),
      keyForm,
      signature: sign('sha256', message, signer),
      ...(encTlv && { encTlv }),
    });

  it('is the shared body and a trailer, and the bootloader accepts it by OTP key hash and by key hash', () => {
    covers('R93', 'RULE-12');
    const whole = attachTrailer(built.body, trailer(signInput(built)));
    expect(verifyImage(whole, { ...hwKey, securityCounter: 9 })).toMatchObject({ ok: true, info: { securityCounter: 9 } });
    expect(verifyImage(attachTrailer(built.body, trailer(signInput(built), 'hash')), keyhash).ok).toBe(true);
  });

  it('is refused by a device with another key', () => {
    covers('RULE-12');
    const whole = attachTrailer(built.body, trailer(signInput(built)));
    const other = sha256(publicKey('other-p256'));
    expect(verifyImage(whole, { slotBytes, signature: { algorithm: 'P-256', otpKeyHash: other } })).toEqual({
      ok: false,
      reason: 'unknown-signing-key',
    });
  });

  it.each([128, 256] as const)('opens only with the key it was wrapped for, AES-%i (RULE-13, T21)', bits => {
    covers('RULE-13', 'T21');
    const encrypted = buildImage({ ...specOf(built.body), encryptionBits: bits });
    const cek = createHash('sha512')
      .update('content key')
      .digest()
      .subarray(0, bits / 8);
    const scalar = sha256('ephemeral');
    const encTlv = wrapKey(cek, publicKey('enc-p256').subarray(-65), scalar);
    const signature = sign('sha256', signInput(encrypted), signer);
    const parts = { imageHash: encrypted.imageHash, publicKey: publicKey('sign-p256'), keyForm: 'hash', signature, encTlv } as const;
    const cipherBody = encryptBody(encrypted, cek);
    const whole = attachTrailer(cipherBody, deviceTrailer(parts));
    expect(Buffer.from(cipherBody).includes(Buffer.from(v2.subarray(0, 32)))).toBe(false);
    const verdict = verifyImage(whole, { ...keyhash, decryption: encP256 });
    expect(verdict.ok && Buffer.compare(verdict.info.body, encrypted.body)).toBe(0);
    const forOther = wrapKey(cek, publicKey('enc-other-p256').subarray(-65), scalar);
    const misaddressed = attachTrailer(cipherBody, deviceTrailer({ ...parts, encTlv: forOther }));
    expect(verifyImage(misaddressed, { ...keyhash, decryption: encP256 })).toEqual({ ok: false, reason: 'enc-key-unwrap-failed' });
  });

  it('has another hash encrypted than plain, so both are reference values', () => {
    const encrypted = buildImage({ ...specOf(built.body), encryptionBits: 256 });
    expect(Buffer.compare(encrypted.imageHash, referenceHash(built.body))).not.toBe(0);
  });

  it('refuses a signature that is not DER and a content key of the wrong length', () => {
    expect(() =>
      deviceTrailer({ imageHash: built.imageHash, publicKey: publicKey('sign-p256'), keyForm: 'whole', signature: new Uint8Array(64) }),
    ).toThrow(expect.objectContaining({ code: 'IMAGE_REFUSED' }));
    expect(() => encryptBody(built, new Uint8Array(16))).toThrow(expect.objectContaining({ code: 'IMAGE_REFUSED' }));
    expect(() => wrapKey(new Uint8Array(16), new Uint8Array(65), new Uint8Array(32).fill(1))).toThrow(
      expect.objectContaining({ code: 'KEY_REFUSED' }),
    );
  });
});

describe('buildImage and its spec', () => {
  const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const arbitrary: fc.Arbitrary<ImageSpec> = fc.record(
    {
      payload: fc.uint8Array({ minLength: 1, maxLength: 200 }),
      version: fc.record({ major: fc.nat(255), minor: fc.nat(255), revision: fc.nat(65535), build: fc.nat(0xffffffff) }),
      securityCounter: fc.nat(0xffffffff),
      headerBytes: fc.integer({ min: 32, max: 600 }),
      romAddress: fc.nat(0xffffffff),
      dependencies: fc.array(fc.record({ imageId: fc.nat(255), minVersion: fc.constant(parseVersion('1.2.3+4')) }), { maxLength: 3 }),
      vendorUuid: bytes16,
      classUuid: bytes16,
      uidBinding: bytes16,
      extraTlvs: fc.array(fc.record({ type: fc.constantFrom(0xa0, 0xa1, 0xff), value: fc.uint8Array({ maxLength: 40 }) }), {
        maxLength: 3,
      }),
    },
    { requiredKeys: ['payload', 'version'] },
  );

  it('reads back every spec it builds', () => {
    fc.assert(
      fc.property(arbitrary, of => {
        const built = buildImage(of);
        expect(built.body.length).toBe(bodyBytesOf(built.header));
        expect(Buffer.compare(buildImage(specOf(built.body)).body, built.body)).toBe(0);
      }),
    );
  });

  it.each<[string, Partial<ImageSpec>]>([
    ['an empty payload', { payload: new Uint8Array(0) }],
    ['a short header', { headerBytes: 31 }],
    ['a long header', { headerBytes: 0x10000 }],
    ['a version beyond its fields', { version: { major: 256, minor: 0, revision: 0, build: 0 } }],
    ['a counter beyond 32 bits', { securityCounter: 2 ** 32 }],
    ['a short UUID', { vendorUuid: new Uint8Array(15) }],
    ['a TLV outside the vendor range', { extraTlvs: [{ type: 0x22, value: new Uint8Array(1) }] }],
    ['the UID binding as a TLV of its own', { extraTlvs: [{ type: tlvType.uidBinding, value: new Uint8Array(16) }] }],
    ['two addresses', { ramAddress: 1, romAddress: 1 }],
    ['more TLVs than the area holds', { extraTlvs: [{ type: 0xa0, value: new Uint8Array(65530) }] }],
    ['a dependency out of range', { dependencies: [{ imageId: 256, minVersion: parseVersion('1.0.0') }] }],
  ])('refuses %s', (_, more) => {
    expect(() => buildImage(spec(v1, '1.0.0', 1, more))).toThrow(expect.objectContaining({ code: 'IMAGE_REFUSED' }));
  });
});
