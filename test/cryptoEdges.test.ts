import { createCipheriv, createPublicKey, createSecretKey, ECDH, generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex, utf8 } from '../src/bytes.ts';
import { encodeCbor } from '../src/cbor/encode.ts';
import { aes256GcmOpen } from '../src/cose/encrypt0.ts';
import { keyIdOf } from '../src/cose/publicKey.ts';
import { sign1, verifySign1 } from '../src/cose/sign1.ts';
import { coordinateBytes, derToRaw, rawToDer } from '../src/ecdsa.ts';
import { type Curve, digestOf, importKey, spkiOfPoint, verifyOnce } from '../src/ecKey.ts';
import { agree } from '../src/keystore/ec.ts';
import { unwrapKey, wrapKey } from '../src/keystore/kwp.ts';
import { ecdhFromRandom } from '../src/spdm/ecdh.ts';
import { verifyByKey } from '../src/spdm/signature.ts';
import { makeKey } from './pki/support.ts';

/** Cases of our own, in the manner of Project Wycheproof: values at the edges of what we sign, verify, wrap, open and agree on. */

/** Order of the group (SEC 2 §2.4.2, §2.5.1). */
const orders: Readonly<Record<Curve, bigint>> = {
  'P-256': 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  'P-384': 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
};
const curves = ['P-256', 'P-384'] as const;
const message = utf8('to be signed');

const fixed = (value: bigint, curve: Curve) => fromHex(value.toString(16).padStart(2 * coordinateBytes[curve], '0'));
const raw = (r: bigint, s: bigint, curve: Curve) => concat(fixed(r, curve), fixed(s, curve));
const numberIn = (bytes: Uint8Array) => BigInt(`0x${toHex(bytes)}`);

describe.each(curves)('a signature on %s', curve => {
  const { privateKey, spki } = makeKey(curve);
  const der = new Uint8Array(sign(digestOf[curve], message, privateKey));
  const good = derToRaw(der, coordinateBytes[curve]) as Uint8Array;
  const size = coordinateBytes[curve];
  const [r, s] = [numberIn(good.subarray(0, size)), numberIn(good.subarray(size))];
  const n = orders[curve];
  const algorithms = { hash: { name: digestOf[curve] }, signature: { curve } } as unknown as Parameters<typeof verifyByKey>[0];

  /** Everybody who takes a raw signature: SPDM in both places, COSE. */
  async function takenBy(signature: Uint8Array, by = spki): Promise<readonly boolean[]> {
    const spdm = (place: 'pool' | 'caller') =>
      verifyByKey(algorithms, importKey(by), message, signature, 'test', place).then(
        () => true,
        () => false,
      );
    return Promise.all([spdm('pool'), spdm('caller')]);
  }

  it('is taken, and so is its twin n − s, which ECDSA cannot tell apart', async () => {
    expect(await takenBy(good)).toEqual([true, true]);
    expect(await takenBy(raw(r, n - s, curve))).toEqual([true, true]);
  });

  it.each([
    ['r and s of zero', raw(0n, 0n, curve)],
    ['r of zero', raw(0n, s, curve)],
    ['s of zero', raw(r, 0n, curve)],
    ['r of one, s of one', raw(1n, 1n, curve)],
    ['r of n', raw(n, s, curve)],
    ['s of n', raw(r, n, curve)],
    ['r of n, s of zero', raw(n, 0n, curve)],
    ['r of n − 1, s of n − 1', raw(n - 1n, n - 1n, curve)],
    ['r of n + 1', raw(n + 1n, s, curve)],
    ['r changed to n − r', raw(n - r, s, curve)],
    ['s changed to s − 1', raw(r, s - 1n, curve)],
    ['r and s exchanged', raw(s, r, curve)],
    ['all bits set', new Uint8Array(2 * size).fill(0xff)],
    ['nothing', new Uint8Array()],
    ['r alone', good.subarray(0, size)],
    ['one byte less', good.subarray(0, -1)],
    ['one byte more', concat(good, Uint8Array.of(0))],
    ['a zero before each', concat(Uint8Array.of(0), good.subarray(0, size), Uint8Array.of(0), good.subarray(size))],
    ['its own DER', der],
  ])('is refused with %s', async (_what, signature) => {
    expect(await takenBy(signature)).toEqual([false, false]);
    const asDer = derOf(signature);
    if (asDer !== undefined) expect(verifyOnce({ curve, publicKey: spki, message, signature: asDer })).toBe(false);
  });

  const derOf = (signature: Uint8Array) => (signature.length === 2 * size ? rawToDer(signature, curve) : undefined);

  it('in DER is taken in its one form only', () => {
    const body = der.subarray(2);
    const forms = {
      'a length in two bytes': concat(Uint8Array.of(0x30, 0x82, 0, body.length), body),
      'no definite length': concat(Uint8Array.of(0x30, 0x80), body, new Uint8Array(2)),
      'a byte behind it': concat(der, Uint8Array.of(0)),
      'a byte inside behind s': concat(Uint8Array.of(0x30, body.length + 2), body, Uint8Array.of(5, 0)),
      'one byte less': der.subarray(0, -1),
      'another tag': concat(Uint8Array.of(0x31), der.subarray(1)),
      'r as another type': concat(der.subarray(0, 2), Uint8Array.of(0x03), der.subarray(3)),
    };
    for (const [what, form] of Object.entries(forms)) {
      expect(derToRaw(form, size), what).toBeUndefined();
      expect(verifyOnce({ curve, publicKey: spki, message, signature: form }), what).toBe(false);
    }
  });

  it('in COSE is taken in the length of its curve only', async () => {
    const kid = keyIdOf(spki);
    const resolveKey = () => spki;
    const whole = await sign1(
      { kid, curve, payload: message },
      async tbs => derToRaw(new Uint8Array(sign(digestOf[curve], tbs, privateKey)), size)!,
    );
    expect((await verifySign1(whole, { resolveKey })).payload).toEqual(message);
    const signature = whole.slice(-2 * size);
    const head = whole.slice(0, -2 * size - 2);
    for (const other of [signature.slice(1), concat(signature, Uint8Array.of(0)), new Uint8Array(), new Uint8Array(2 * size)])
      await expect(verifySign1(concat(head, encodeCbor(other)), { resolveKey }), toHex(other)).rejects.toMatchObject({
        code: expect.stringMatching(/^COSE_(MALFORMED|SIGNATURE)$/),
      });
  });

  it('by a key that is no point of the curve verifies nothing', () => {
    const point = spki.slice(-2 * size - 1);
    const points = {
      'y changed': point.with(point.length - 1, (point.at(-1) ?? 0) ^ 1),
      'x and y of zero': Uint8Array.from(point, (byte, index) => (index === 0 ? byte : 0)),
      'x of all bits': Uint8Array.from(point, (byte, index) => (index > 0 && index <= size ? 0xff : byte)),
    };
    for (const [what, bad] of Object.entries(points))
      expect(() => verifyOnce({ curve, publicKey: spkiOfPoint(bad, curve), message, signature: der }), what).toThrow(
        expect.objectContaining({ code: 'KEY_REFUSED' }),
      );
    for (const short of [
      point.slice(1),
      ECDH.convertKey(point, curve === 'P-256' ? 'prime256v1' : 'secp384r1', undefined, undefined, 'compressed') as Uint8Array,
    ])
      expect(() => spkiOfPoint(short, curve)).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
  });
});

describe('a wrapped key (AES-KWP)', () => {
  const kek = createSecretKey(new Uint8Array(32).fill(7));
  /** RFC 5649 §3: the initial value, then the length. */
  const rawWrap = (block: Uint8Array) => {
    const cipher = createCipheriv('id-aes256-wrap', kek, block.subarray(0, 8));
    return new Uint8Array(concat(cipher.update(block.subarray(8)), cipher.final()));
  };
  const blockOf = (length: number, padded: Uint8Array, head = 'a65959a6') =>
    concat(fromHex(head + length.toString(16).padStart(8, '0')), padded);
  const refused = expect.objectContaining({ code: 'KEY_REFUSED' });

  it('opens for every length, and is what the RFC builds', () => {
    for (let length = 1; length <= 64; length += 1) {
      const secret = Uint8Array.from({ length }, (_, index) => index + 1);
      expect(toHex(unwrapKey(kek, wrapKey(kek, secret)))).toBe(toHex(secret));
      const padded = concat(secret, new Uint8Array((8 - (length % 8)) % 8));
      if (padded.length > 8) expect(toHex(wrapKey(kek, secret))).toBe(toHex(rawWrap(blockOf(length, padded))));
    }
  });

  it.each([
    ['bytes in the padding that are not zero', blockOf(13, concat(new Uint8Array(13), Uint8Array.of(0, 0, 1)))],
    ['a length that leaves a whole block of padding', blockOf(8, new Uint8Array(16))],
    ['a length beyond what is there', blockOf(17, new Uint8Array(16))],
    ['a length of zero', blockOf(0, new Uint8Array(16))],
    ['a length of 2³² − 1', blockOf(0xffff_ffff, new Uint8Array(16))],
    ['the initial value of the wrapping without padding', concat(new Uint8Array(8).fill(0xa6), new Uint8Array(16))],
    ['one bit of the initial value changed', blockOf(16, new Uint8Array(16), 'a65959a7')],
  ])('is refused with %s', (_what, block) => {
    expect(() => unwrapKey(kek, rawWrap(block))).toThrow(refused);
  });

  it('is refused with any bit changed, any length but its own, and under another key', () => {
    const wrapped = wrapKey(kek, new Uint8Array(20).fill(9));
    for (let bit = 0; bit < 8 * wrapped.length; bit += 1) {
      const changed = wrapped.with(bit >> 3, (wrapped[bit >> 3] ?? 0) ^ (1 << (bit & 7)));
      expect(() => unwrapKey(kek, changed), String(bit)).toThrow(refused);
    }
    for (const length of [0, 8, 9, 15, 16, 24]) expect(() => unwrapKey(kek, wrapped.subarray(0, length)), String(length)).toThrow(refused);
    expect(() => unwrapKey(kek, concat(wrapped, new Uint8Array(8)))).toThrow(refused);
    expect(() => unwrapKey(createSecretKey(new Uint8Array(32).fill(8)), wrapped)).toThrow(refused);
  });
});

describe('AES-256-GCM', () => {
  const key = new Uint8Array(32).fill(3);
  const [iv, aad, plaintext] = [new Uint8Array(12).fill(4), utf8('aad'), utf8('plaintext')];
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(aad);
  const body = concat(cipher.update(plaintext), cipher.final());
  const tag = cipher.getAuthTag();
  const open = (changes: Partial<{ iv: Uint8Array; aad: Uint8Array; ciphertext: Uint8Array }>) =>
    aes256GcmOpen(key)({ iv, aad, ciphertext: concat(body, tag), ...changes });

  it('opens what was sealed, and nothing that was changed, cut or lengthened', async () => {
    expect(toHex((await open({})) ?? new Uint8Array())).toBe(toHex(plaintext));
    const whole = concat(body, tag);
    for (let bit = 0; bit < 8 * whole.length; bit += 1)
      expect(await open({ ciphertext: whole.with(bit >> 3, (whole[bit >> 3] ?? 0) ^ (1 << (bit & 7))) }), String(bit)).toBeUndefined();
    for (let length = 0; length < whole.length; length += 1)
      expect(await open({ ciphertext: whole.subarray(0, length) }), `${length} bytes`).toBeUndefined();
    expect(await open({ ciphertext: concat(whole, Uint8Array.of(0)) })).toBeUndefined();
    expect(await open({ aad: utf8('aaD') })).toBeUndefined();
    expect(await open({ iv: new Uint8Array(12).fill(5) })).toBeUndefined();
  });
});

describe('an agreement', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const peer = makeKey();
  const kdf = { salt: utf8('salt'), info: utf8('info') };
  const points = {
    'off the curve': peer.point.with(64, (peer.point[64] ?? 0) ^ 1),
    'all zero': Uint8Array.from(peer.point, (byte, index) => (index === 0 ? byte : 0)),
    'x beyond the field': Uint8Array.from(peer.point, (byte, index) => (index > 0 && index <= 32 ? 0xff : byte)),
    'on the twist': concat(Uint8Array.of(4), fromHex('00'.repeat(31)), Uint8Array.of(1), peer.point.slice(33)),
    'of P-384': makeKey('P-384').point,
    infinity: Uint8Array.of(0),
    compressed: ECDH.convertKey(peer.point, 'prime256v1', undefined, undefined, 'compressed') as Uint8Array,
    'without its first byte': peer.point.slice(1),
  };

  it('in the keystore is the same on both sides, and refuses every point that is none', () => {
    const own = new Uint8Array(createPublicKey(privateKey).export({ format: 'der', type: 'spki' })).slice(-65);
    expect(agree(privateKey, peer.point, kdf)).toEqual(agree(peer.privateKey, own, kdf));
    for (const [what, point] of Object.entries(points))
      expect(() => agree(privateKey, point, kdf), what).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
  });

  it('in SPDM refuses the same', () => {
    const group = { curve: 'prime256v1', privateBytes: 32 } as unknown as Parameters<ReturnType<typeof ecdhFromRandom>>[0];
    const ours = ecdhFromRandom(length => new Uint8Array(length).fill(5))(group);
    const theirs = ecdhFromRandom(length => new Uint8Array(length).fill(6))(group);
    expect(ours.derive(theirs.exchange)).toEqual(theirs.derive(ours.exchange));
    for (const [what, point] of Object.entries(points))
      if (what !== 'without its first byte')
        expect(() => ours.derive(point.slice(1)), what).toThrow(expect.objectContaining({ code: 'SPDM_MALFORMED' }));
  });
});
