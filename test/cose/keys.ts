import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { type Es256Signer, es256Signer } from '../../src/cose/sign1.ts';

export type TestKey = { readonly spki: Uint8Array; readonly kid: Uint8Array; readonly sign: Es256Signer };

/** A fresh P-256 key that signs as the keystore does: DER over SHA-256. */
export function testKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return keyFrom(privateKey, publicKey);
}

/** A key from its JWK coordinates. */
export function testKeyFromJwk(jwk: { x: string; y: string; d: string }): TestKey {
  const privateKey = createPrivateKey({ key: { kty: 'EC', crv: 'P-256', ...jwk }, format: 'jwk' });
  return keyFrom(privateKey, createPublicKey(privateKey));
}

function keyFrom(privateKey: ReturnType<typeof createPrivateKey>, publicKey: ReturnType<typeof createPublicKey>): TestKey {
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
  return { spki, kid: keyIdOf(spki), sign: es256Signer(async message => sign('sha256', message, privateKey)) };
}

/** The message with one bit of one byte turned, for every byte. */
export function* everyByteFlipped(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = bytes.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    yield changed;
  }
}
