import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { type RawSigner, rawSigner } from '../../src/cose/sign1.ts';
import { type Curve, digestOf } from '../../src/ecKey.ts';

export type TestKey = { readonly spki: Uint8Array; readonly kid: Uint8Array; readonly curve: Curve; readonly sign: RawSigner };

/** A fresh key that signs as the keystore does: DER over SHA-256, or SHA-384 with P-384. */
export function testKey(curve: Curve = 'P-256'): TestKey {
  return keyFrom(generateKeyPairSync('ec', { namedCurve: curve }).privateKey, curve);
}

/** A key from its JWK coordinates. */
export function testKeyFromJwk(jwk: { x: string; y: string; d: string }, curve: Curve = 'P-256'): TestKey {
  return keyFrom(createPrivateKey({ key: { kty: 'EC', crv: curve, ...jwk }, format: 'jwk' }), curve);
}

/** @param digest another than that of the curve, for a message that breaks the rule */
export function keyFrom(privateKey: KeyObject, curve: Curve, digest: string = digestOf[curve]): TestKey {
  const spki = new Uint8Array(createPublicKey(privateKey).export({ format: 'der', type: 'spki' }));
  return { spki, kid: keyIdOf(spki), curve, sign: rawSigner(async message => sign(digest, message, privateKey), curve) };
}

/** The message with one bit of one byte turned, for every byte. */
export function* everyByteFlipped(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = bytes.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    yield changed;
  }
}
