import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { equalBytes } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { type Tlv, tlvType } from './tlv.ts';

/** Which signatures a bootloader takes (image_validate.c): one algorithm, and keys it knows by hash or by OTP. */
export type SignaturePolicy =
  | {
      readonly algorithm: 'P-256' | 'Ed25519' | 'Ed25519-pure';
      /** SubjectPublicKeyInfo DER of the keys built in; the image names one by KEYHASH. */
      readonly keyHashOf: readonly Uint8Array[];
    }
  | {
      readonly algorithm: 'P-256';
      /** SHA-256 of the one SubjectPublicKeyInfo in OTP; the image carries the key as PUBKEY (MCUBOOT_HW_KEY). */
      readonly otpKeyHash: Uint8Array;
    }
  /** A build without signatures: hash only. */
  | { readonly algorithm: 'none' };

export type SignatureFlaw = 'key-tlv-missing' | 'unknown-signing-key' | 'signature-tlv-missing' | 'signature-invalid';

type Signed = {
  readonly body: Uint8Array;
  readonly imageHash: Uint8Array;
  readonly protectedTlvs: readonly Tlv[];
  readonly tlvs: readonly Tlv[];
};

/** `SIG_BUF_SIZE` of an ECDSA build, and `KEY_BUF_SIZE` with HW_KEY (image_validate.c). */
const maxSignatureBytes = 128;
const maxPublicKeyBytes = maxSignatureBytes + 24;
const keyHashBytes = 32;

/** Walks the TLVs as the bootloader does: a key TLV chooses the key for the next signature; of several judged signatures the last one counts. */
export function checkSignature(image: Signed, policy: SignaturePolicy): SignatureFlaw | undefined {
  if (policy.algorithm === 'none') return undefined;
  const byOtp = 'otpKeyHash' in policy;
  const keyType = byOtp ? tlvType.publicKey : tlvType.keyHash;
  const signatureType = policy.algorithm === 'P-256' ? tlvType.ecdsaSignature : tlvType.ed25519Signature;
  const tlvs = [...image.protectedTlvs, ...image.tlvs];
  if (!tlvs.some(tlv => tlv.type === keyType)) return 'key-tlv-missing';
  let key: Uint8Array | undefined;
  let knownKey = false;
  let valid: boolean | undefined;
  for (const tlv of tlvs) {
    if (tlv.type === keyType) {
      if (tlv.value.length > keyLimit(policy, byOtp)) return 'unknown-signing-key';
      key = byOtp ? keyFromOtp(tlv.value, policy.otpKeyHash) : keyFromHash(tlv.value, policy.keyHashOf);
      knownKey ||= key !== undefined;
    } else if (tlv.type === signatureType && key) {
      if (tlv.value.length > maxSignatureBytes) return 'signature-invalid';
      valid = verifySignature(image, policy.algorithm, key, tlv.value);
      key = undefined;
    }
  }
  if (!knownKey) return 'unknown-signing-key';
  if (valid === undefined) return 'signature-tlv-missing';
  return valid ? undefined : 'signature-invalid';
}

/** A pure-signature build hashes keys with SHA-512. */
const keyLimit = (policy: SignaturePolicy, byOtp: boolean): number =>
  byOtp ? maxPublicKeyBytes : keyHashBytes * (policy.algorithm === 'Ed25519-pure' ? 2 : 1);

/** The bootloader compares as many bytes as the TLV has, even none (bootutil_find_key.c): it is a hint, not a check. */
function keyFromHash(hint: Uint8Array, keys: readonly Uint8Array[]): Uint8Array | undefined {
  const algorithm = hint.length > keyHashBytes ? 'sha512' : 'sha256';
  return keys.find(key => equalBytes(createHash(algorithm).update(key).digest().subarray(0, hint.length), hint));
}

function keyFromOtp(key: Uint8Array, otpKeyHash: Uint8Array): Uint8Array | undefined {
  return equalBytes(sha256(key), otpKeyHash) ? key : undefined;
}

function verifySignature(image: Signed, algorithm: 'P-256' | 'Ed25519' | 'Ed25519-pure', spki: Uint8Array, signature: Uint8Array): boolean {
  const key = readPublicKey(spki);
  if (!key) return false;
  if (algorithm !== 'P-256') {
    return key.asymmetricKeyType === 'ed25519' && verify(null, algorithm === 'Ed25519' ? image.imageHash : image.body, key, signature);
  }
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return false;
  return verify('sha256', image.body, key, signature);
}

function readPublicKey(spki: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}
