import { createPrivateKey, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatVersion, parseVersion } from '../../src/domain/version.ts';
import { NusecError } from '../../src/errors.ts';
import { attachTrailer, buildImage, deviceTrailer, signInput } from '../../src/ota/build.ts';
import { dependenciesOf, parseBody, securityCounterOf, slotReader } from '../../src/ota/image.ts';
import { readTlvItems, tlvMagic, tlvType, writeTlvArea } from '../../src/ota/tlv.ts';
import { verifyImage } from '../../src/ota/verify.ts';
import { compareVersion } from '../../src/ota/version.ts';
import { covers } from '../support/covers.ts';
import { parseImage } from './parseImage.ts';
import { encP256, image, keyhash, otpKeyHash, privateKey, publicKey, slotBytes } from './vectors.ts';

const signer = createPrivateKey({ key: Buffer.from(privateKey('sign-p256')), format: 'der', type: 'pkcs8' });

function smallImage(keyForm: 'whole' | 'hash') {
  const built = buildImage({ payload: new Uint8Array(24).fill(0x5a), version: parseVersion('1.0.0'), securityCounter: 5, headerBytes: 40 });
  const signature = sign('sha256', signInput(built), signer);
  return {
    built,
    whole: attachTrailer(built.body, deviceTrailer({ imageHash: built.imageHash, publicKey: publicKey('sign-p256'), keyForm, signature })),
  };
}

describe('parseImage', () => {
  it('reads header, counter and dependencies', () => {
    const parsed = parseImage(image('05-p256-deps-seccnt5.bin'));
    expect(formatVersion(parsed.header.version)).toBe('2.0.0');
    expect(securityCounterOf(parsed)).toBe(5);
    expect(dependenciesOf(parsed)?.map(d => [d.imageId, formatVersion(d.minVersion)])).toEqual([
      [1, '1.5.0'],
      [0, '1.0.0+3'],
    ]);
  });

  it('throws IMAGE_MALFORMED and nothing else on cut and arbitrary bytes (T27)', () => {
    covers('T27');
    const { whole } = smallImage('hash');
    for (let length = 0; length < whole.length; length += 1) {
      expect(() => parseImage(whole.subarray(0, length))).toThrow(expect.objectContaining({ code: 'IMAGE_MALFORMED' }));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), tail => {
        const bytes = Uint8Array.from([...whole.subarray(0, 12), ...tail]);
        for (const read of [parseImage, parseBody]) {
          try {
            read(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(NusecError);
          }
        }
        expect(() => verifyImage(bytes, { ...keyhash, decryption: encP256 })).not.toThrow();
      }),
    );
  });
});

describe('TLV areas', () => {
  it('read back what they wrote', () => {
    const items = fc.array(fc.record({ type: fc.nat(0xffff), value: fc.uint8Array({ maxLength: 300 }) }), { maxLength: 8 });
    fc.assert(
      fc.property(items, tlvs => {
        const area = writeTlvArea(tlvMagic.protected, tlvs);
        expect(readTlvItems(area.subarray(4))).toEqual(tlvs);
      }),
    );
  });

  it('are refused when items do not fill them exactly', () => {
    const area = writeTlvArea(tlvMagic.unprotected, [{ type: 0xa0, value: new Uint8Array(3) }]).subarray(4);
    for (let length = 1; length < area.length; length += 1) expect(readTlvItems(area.subarray(0, length))).toBeUndefined();
  });
});

/** A random signature may end in 0xff, which is what erased flash holds, or in the 0 that was put in before it: nothing changed then. */
const sameInFlash = (changed: Uint8Array, whole: Uint8Array): boolean =>
  Buffer.from(whole).equals(slotReader(changed, slotBytes).read(0, whole.length) ?? new Uint8Array());

describe('a changed image', () => {
  it.each(['whole', 'hash'] as const)('is never accepted, whichever byte of it changes (key as %s; T21)', keyForm => {
    covers('T21');
    const { whole, built } = smallImage(keyForm);
    const signature = keyForm === 'whole' ? ({ algorithm: 'P-256', otpKeyHash } as const) : keyhash.signature;
    const policy = { slotBytes, signature, securityCounter: 5 };
    expect(verifyImage(whole, policy).ok).toBe(true);
    for (let at = 0; at < whole.length; at += 1) {
      for (const mask of [0x01, 0x10, 0x80, 0xff]) {
        const changed = whole.slice();
        changed[at] = (changed[at] ?? 0) ^ mask;
        const verdict = verifyImage(changed, policy);
        if (verdict.ok) throw new Error(`accepted with byte ${at} changed by ${mask}; the body has ${built.body.length} bytes`);
      }
    }
  });

  it('is refused when any byte goes or comes', () => {
    const { whole } = smallImage('whole');
    const policy = { slotBytes, signature: { algorithm: 'P-256', otpKeyHash } } as const;
    for (let at = 0; at < whole.length; at += 1) {
      const shorter = Uint8Array.from([...whole.subarray(0, at), ...whole.subarray(at + 1)]);
      const longer = Uint8Array.from([...whole.subarray(0, at), 0, ...whole.subarray(at)]);
      for (const changed of [shorter, longer]) expect(verifyImage(changed, policy).ok).toBe(sameInFlash(changed, whole));
    }
  });

  it('is refused in a slot that is too small for it or its trailer', () => {
    const { whole } = smallImage('whole');
    const signature = { algorithm: 'P-256', otpKeyHash } as const;
    expect(verifyImage(whole, { slotBytes: whole.length, signature }).ok).toBe(true);
    expect(verifyImage(whole, { slotBytes: whole.length, trailerBytes: 1, signature })).toEqual({
      ok: false,
      reason: 'image-overlaps-trailer-or-too-large',
    });
    for (let bytes = 0; bytes < whole.length; bytes += 1) expect(verifyImage(whole, { slotBytes: bytes, signature }).ok).toBe(false);
  });
});

describe('hostile TLVs', () => {
  const types = Object.values(tlvType);
  const tlv = fc.record({ type: fc.oneof(fc.constantFrom(...types), fc.nat(0xffff)), value: fc.uint8Array({ maxLength: 140 }) });
  const area = fc.array(tlv, { maxLength: 6 });

  it('neither crash the judge nor get past it, whatever they are (T27)', () => {
    covers('T27');
    const { whole, built } = smallImage('hash');
    const good = parseImage(whole).tlvs;
    fc.assert(
      fc.property(area, fc.nat(0xf), fc.constantFrom(1, 2), (hostile, flags, position) => {
        const body = built.body.slice();
        body[16] = flags;
        const tlvs = position === 1 ? [...hostile, ...good] : [...good.slice(0, 1), ...hostile, ...good.slice(1)];
        const bytes = attachTrailer(body, writeTlvArea(tlvMagic.unprotected, tlvs));
        for (const policy of [keyhash, { slotBytes, signature: { algorithm: 'P-256', otpKeyHash } } as const]) {
          const verdict = verifyImage(bytes, { ...policy, decryption: encP256 });
          if (verdict.ok) expect(verdict.info.imageHash).toEqual(good[0]?.value);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a signature', () => {
  it('is strict DER: other encodings of the same numbers are refused', () => {
    const { built } = smallImage('hash');
    const der = sign('sha256', signInput(built), signer);
    const withForm = (signature: Uint8Array) => {
      const key = { type: tlvType.keyHash, value: otpKeyHash };
      const hash = { type: tlvType.sha256, value: built.imageHash };
      const trailer = writeTlvArea(tlvMagic.unprotected, [hash, key, { type: tlvType.ecdsaSignature, value: signature }]);
      return verifyImage(attachTrailer(built.body, trailer), keyhash);
    };
    const body = der.subarray(2);
    expect(withForm(der).ok).toBe(true);
    const forms = [
      Uint8Array.of(...der, 0),
      Uint8Array.of(0x30, 0x81, body.length, ...body),
      Uint8Array.of(0x30, body.length + 1, 0x02, (body[1] ?? 0) + 1, 0x00, ...body.subarray(2)),
      Uint8Array.of(0x30, 0x80, ...body, 0, 0),
      new Uint8Array(129),
      new Uint8Array(0),
    ];
    for (const form of forms) expect(withForm(form)).toEqual({ ok: false, reason: 'signature-invalid' });
  });
});

describe('product and counter checks of the bootloader', () => {
  const six = image('06-p256-bootrecord-uuid-custom.bin');
  const vendorUuid = Uint8Array.from(Buffer.from('64f6f5fab0d159ac9b9ecdf97f7ee394', 'hex'));
  const other = new Uint8Array(16);

  it('refuse another vendor or class (T13)', () => {
    covers('T13');
    expect(verifyImage(six, { ...keyhash, vendorUuid }).ok).toBe(true);
    expect(verifyImage(six, { ...keyhash, vendorUuid: other })).toMatchObject({ reason: 'wrong-vendor' });
    expect(verifyImage(six, { ...keyhash, vendorUuid, classUuid: other })).toMatchObject({ reason: 'wrong-class' });
    expect(verifyImage(image('02-p256-v2.0.0-seccnt5.bin'), { ...keyhash, vendorUuid })).toMatchObject({ reason: 'wrong-vendor' });
  });

  it('refuse an image bound to another UID', () => {
    const uid = new Uint8Array(16).fill(3);
    const built = buildImage({ payload: new Uint8Array(8), version: parseVersion('1.0.0'), uidBinding: uid });
    const signature = sign('sha256', signInput(built), signer);
    const parts = { imageHash: built.imageHash, publicKey: publicKey('sign-p256'), keyForm: 'hash', signature } as const;
    const bytes = attachTrailer(built.body, deviceTrailer(parts));
    expect(verifyImage(bytes, { ...keyhash, uid }).ok).toBe(true);
    expect(verifyImage(bytes, { ...keyhash, uid: other })).toMatchObject({ reason: 'wrong-uid' });
  });

  it('accept a counter up to what the device can hold, not one more (I9)', () => {
    covers('I9');
    const five = image('02-p256-v2.0.0-seccnt5.bin');
    expect(verifyImage(five, { ...keyhash, securityCounter: 0, maxSecurityCounter: 5 }).ok).toBe(true);
    expect(verifyImage(five, { ...keyhash, securityCounter: 0, maxSecurityCounter: 4 })).toMatchObject({
      reason: 'security-counter-exhausted',
    });
  });
});

describe('versions', () => {
  const version = fc.record({ major: fc.nat(255), minor: fc.nat(255), revision: fc.nat(65535), build: fc.nat(0xffffffff) });
  it('read back their text', () => {
    fc.assert(
      fc.property(version, v => {
        expect(parseVersion(formatVersion(v))).toEqual(v);
      }),
    );
  });

  it('are ordered without the build number', () => {
    expect(compareVersion(parseVersion('1.2.3+9'), parseVersion('1.2.3'))).toBe(0);
    expect(compareVersion(parseVersion('1.10.0'), parseVersion('1.9.65535'))).toBeGreaterThan(0);
  });

  it.each(['', '1', '1.2', '1.2.3.4', '256.0.0', '1.2.65536', '1.2.3+4294967296', '-1.0.0', '1.2.3-rc1'])('refuse "%s"', text => {
    expect(() => parseVersion(text)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
  });
});
