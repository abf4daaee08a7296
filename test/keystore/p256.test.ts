import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { expect, it } from 'vitest';
import { fromBase64url, toHex } from '../../src/bytes.ts';
import { generateP256, scalarIn } from '../../src/keystore/p256.ts';

const der = { type: 'pkcs8', format: 'der' } as const;

it('a pair is written as OpenSSL writes it, and signs', () => {
  for (let i = 0; i < 300; i += 1) {
    const { publicKey, privateKey } = generateP256();
    const key = createPrivateKey({ key: Buffer.from(privateKey), ...der });
    expect(toHex(key.export(der))).toBe(toHex(privateKey));
    expect(toHex(createPublicKey(key).export({ type: 'spki', format: 'der' }))).toBe(toHex(publicKey));
    const message = Buffer.from('bootloader');
    expect(verify('sha256', message, createPublicKey(key), sign('sha256', message, key))).toBe(true);
  }
});

it('finds the private number of a pair of OpenSSL, and says when a key is written in another way', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const scalar = scalarIn(new Uint8Array(privateKey.export(der)));
  expect(toHex(scalar?.export() as Uint8Array)).toBe(toHex(fromBase64url(String(privateKey.export({ format: 'jwk' }).d))));
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export(der);
  expect(scalarIn(new Uint8Array(other))).toBeUndefined();
  const changed = new Uint8Array(privateKey.export(der));
  changed[35] = 0x1f;
  expect(scalarIn(changed)).toBeUndefined();
});
