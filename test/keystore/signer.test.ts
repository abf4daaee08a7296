import { createPublicKey, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/bytes.ts';
import { rawToDer } from '../../src/ecdsa.ts';
import { coseSigner, signer } from '../../src/keystore/signer.ts';
import { newKeystore } from './temporary.ts';

const message = utf8('to be signed');

describe('keys of the keystore as signers', () => {
  it.each([
    ['P-256', 'sha256'],
    ['P-384', 'sha384'],
  ] as const)('sign certificates with %s (R1)', async (algorithm, hash) => {
    const keystore = await newKeystore();
    await keystore.generate('ca', algorithm);
    const ca = await signer(keystore, 'ca');
    expect(ca.algorithm).toBe(algorithm);
    const key = createPublicKey({ key: Buffer.from(await keystore.publicKey('ca')), format: 'der', type: 'spki' });
    expect(verify(hash, message, key, await ca.sign(message))).toBe(true);
  });

  it('sign COSE with r ‖ s of P-256', async () => {
    const keystore = await newKeystore();
    await keystore.generate('package/1', 'P-256');
    const signature = await coseSigner(keystore, 'package/1')(message);
    expect(signature).toHaveLength(64);
    const key = createPublicKey({ key: Buffer.from(await keystore.publicKey('package/1')), format: 'der', type: 'spki' });
    expect(verify('sha256', message, key, rawToDer(signature))).toBe(true);
  });

  it('are refused where the key cannot sign so', async () => {
    const keystore = await newKeystore();
    await Promise.all([keystore.generate('aes', 'AES-256'), keystore.generate('p384', 'P-384')]);
    await expect(signer(keystore, 'aes')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    await expect(signer(keystore, 'none')).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    await expect(coseSigner(keystore, 'p384')(message)).rejects.toMatchObject({ code: 'KEY_REFUSED' });
  });
});
