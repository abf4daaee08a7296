import { keyIdOf } from '../cose/publicKey.ts';
import { rawSigner } from '../cose/sign1.ts';
import { type Curve, curveOf, type SignedMessage } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import type { Signer } from '../pki/certificate.ts';
import type { Signer as CoseSigner } from '../production/signed.ts';
import type { Keystore } from './port.ts';

/** Keys of the keystore in the shapes that the pure folders sign with. */

/** For certificates, CRLs and OCSP responses: DER {r, s} over SHA-256 (P-256) or SHA-384 (P-384). @throws KEY_NOT_FOUND, KEY_REFUSED (an AES key) */
export async function signer(keystore: Keystore, id: string): Promise<AuthoritySigner> {
  const algorithm = curveOfKey(await keystore.publicKey(id));
  return {
    algorithm,
    sign: tbs => keystore.sign(id, tbs),
    whenProven: proof => ({ algorithm, sign: tbs => keystore.signProven(id, tbs, proof) }),
  };
}

/** `whenProven`: the same key, which signs when a request's own signature holds; `sign` throws CSR_SIGNATURE when it does not. */
export type AuthoritySigner = Signer & { whenProven(proof: SignedMessage): Signer };

/** For COSE: ES256 with a P-256 key, ES384 with a P-384 key. @throws KEY_NOT_FOUND, KEY_REFUSED (an AES key) */
export const coseSigner = async (keystore: Keystore, id: string): Promise<CoseSigner> =>
  coseSignerOf(keystore, id, keyNameOf(await keystore.publicKey(id)));

/** The same for a key whose public half is known. @throws when it signs: KEY_NOT_FOUND */
export const coseSignerOf = (keystore: Keystore, id: string, { kid, curve }: KeyName): CoseSigner => ({
  kid,
  curve,
  sign: rawSigner(message => keystore.sign(id, message), curve),
});

type KeyName = { readonly kid: Uint8Array; readonly curve: Curve };

/** @param spki SubjectPublicKeyInfo, DER @throws KEY_REFUSED */
export const keyNameOf = (spki: Uint8Array): KeyName => ({ kid: keyIdOf(spki), curve: curveOfKey(spki) });

function curveOfKey(spki: Uint8Array): Curve {
  const curve = curveOf(spki);
  if (!curve) throw new NusecError('KEY_REFUSED', 'this key does not sign');
  return curve;
}
