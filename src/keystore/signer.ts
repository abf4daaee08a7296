import { keyIdOf } from '../cose/publicKey.ts';
import { rawSigner } from '../cose/sign1.ts';
import { type Curve, curveOf } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import type { Signer } from '../pki/certificate.ts';
import type { Signer as CoseSigner } from '../production/signed.ts';
import type { Keystore } from './port.ts';

/** Keys of the keystore in the shapes that the pure folders sign with. */

/** For certificates, CRLs and OCSP responses: DER {r, s} over SHA-256 (P-256) or SHA-384 (P-384). @throws KEY_NOT_FOUND, KEY_REFUSED (an AES key) */
export async function signer(keystore: Keystore, id: string): Promise<Signer> {
  const { curve } = await signingKey(keystore, id);
  return { algorithm: curve, sign: tbs => keystore.sign(id, tbs) };
}

/** For COSE: ES256 with a P-256 key, ES384 with a P-384 key. @throws KEY_NOT_FOUND, KEY_REFUSED (an AES key) */
export async function coseSigner(keystore: Keystore, id: string): Promise<CoseSigner> {
  const { curve, publicKey } = await signingKey(keystore, id);
  return { kid: keyIdOf(publicKey), curve, sign: rawSigner(message => keystore.sign(id, message), curve) };
}

async function signingKey(keystore: Keystore, id: string): Promise<{ readonly curve: Curve; readonly publicKey: Uint8Array }> {
  const publicKey = await keystore.publicKey(id);
  const curve = curveOf(publicKey);
  if (!curve) throw new NusecError('KEY_REFUSED', `key ${id} does not sign`);
  return { curve, publicKey };
}
