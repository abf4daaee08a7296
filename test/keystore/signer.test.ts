import { createPublicKey, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/bytes.ts';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { rawToDer } from '../../src/ecdsa.ts';
import { importKey } from '../../src/ecKey.ts';
import { coseSigner, signer } from '../../src/keystore/signer.ts';
import { covers } from '../support/covers.ts';
import { newKeystore } from './temporary.ts';

const message = utf8('to be signed');

describe('keys of the keystore as signers', () => {
  it.each([
    ['P-256', 'sha256'],
    ['P-384', 'sha384'],
  ] as const)('sign certificates with %s (R1)', async (algorithm, hash) => {
    covers('R1');
    const keystore = await newKeystore();
    await keystore.generate('ca', algorithm);
    const ca = await signer(keystore, 'ca');
    expect(ca.algorithm).toBe(algorithm);
    const key = createPublicKey({ key: Buffer.from(await keystore.publicKey('ca')), format: 'der', type: 'spki' });
    expect(verify(hash, message, key, await ca.sign(message))).toBe(true);
  });

  it.each([
    ['P-256', 'sha256', 64],
    ['P-384', 'sha384', 96],
  ] as const)('sign COSE with r ‖ s of %s over %s', async (algorithm, hash, bytes) => {
    const keystore = await newKeystore();
    const { publicKey = new Uint8Array() } = await keystore.generate('k', algorithm);
    const { kid, curve, sign } = await coseSigner(keystore, 'k');
    expect([kid, curve]).toEqual([keyIdOf(publicKey), algorithm]);
    const signature = await sign(message);
    expect(signature).toHaveLength(bytes);
    expect(verify(hash, message, importKey(publicKey), rawToDer(signature, algorithm))).toBe(true);
  });

  it('are refused where the key cannot sign so', async () => {
    const keystore = await newKeystore();
    await keystore.generate('aes', 'AES-256');
    await expect(signer(keystore, 'aes')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    await expect(signer(keystore, 'none')).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    await expect(coseSigner(keystore, 'aes')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
  });
});
