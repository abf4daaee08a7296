import { type Es256Signer, es256Signer } from '../cose/sign1.ts';
import { NusecError } from '../errors.ts';
import type { Signer } from '../pki/certificate.ts';
import { curveOf } from '../pki/keys.ts';
import type { Keystore } from './port.ts';

/** Keys of the keystore in the shapes that the pure folders sign with. */

/** For certificates, CRLs and OCSP responses: DER {r, s} over SHA-256 (P-256) or SHA-384 (P-384). @throws KEY_NOT_FOUND, KEY_REFUSED (an AES key) */
export async function signer(keystore: Keystore, id: string): Promise<Signer> {
  const algorithm = curveOf(await keystore.publicKey(id));
  if (!algorithm) throw new NusecError('KEY_REFUSED', `key ${id} does not sign`);
  return { algorithm, sign: tbs => keystore.sign(id, tbs) };
}

/** For COSE and SPDM: ES256, r ‖ s of 64 bytes. Calling it throws KEY_NOT_FOUND, or KEY_REFUSED when the key is not P-256. */
export const coseSigner = (keystore: Keystore, id: string): Es256Signer => es256Signer(message => keystore.sign(id, message));
