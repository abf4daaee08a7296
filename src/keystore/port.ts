import type { SignedMessage } from '../ecKey.ts';

/** The keystore as the rest of the product sees it. There is no way to get a private or secret key out (RULE-1, T17).
 *  Drivers: software.ts (default), pkcs11.ts. Key ids are paths such as `root/1`, `ica/device/1`, `package/1`, `programmer-boot/{uid}`, `programmer-kek/{uid}/{epoch}`:
 *  1 to 200 letters, digits and `. _ : / -`.
 *
 *  What changes the keystore resolves only when it is durable. Every operation throws KEYSTORE_LOCKED once the keystore is closed,
 *  KEY_NOT_FOUND for a key that is not there, and KEY_REFUSED for a key of another kind than the operation takes.
 *  With a token every operation may throw KEYSTORE_UNAVAILABLE: the token is gone, and the operation can be repeated. */

export type KeyAlgorithm = 'P-256' | 'P-384' | 'AES-256';

export type KeyInfo = {
  readonly id: string;
  readonly algorithm: KeyAlgorithm;
  readonly createdAt: string;
  /** SubjectPublicKeyInfo DER (91 bytes for P-256, 120 for P-384); absent for AES keys. */
  readonly publicKey?: Uint8Array;
};

/** A private key generated under a key-encryption key and handed out only in wrapped form, to be kept in the custody store. */
export type WrappedKey = { readonly publicKey: Uint8Array; readonly wrapped: Uint8Array };

/** HKDF-SHA-256 parameters (RFC 5869). */
export type Kdf = { readonly salt: Uint8Array; readonly info: Uint8Array };

export type Keystore = {
  /** @throws KEY_EXISTS, BAD_REQUEST (form of the id), KEY_REFUSED (full), RATE_LIMITED */
  generate(id: string, algorithm: KeyAlgorithm): Promise<KeyInfo>;
  /** @returns SubjectPublicKeyInfo DER */
  publicKey(id: string): Promise<Uint8Array>;
  /** ECDSA over SHA-256 (P-256) or SHA-384 (P-384) of `message`. @returns DER {r, s} */
  sign(id: string, message: Uint8Array): Promise<Uint8Array>;
  /** The same, when somebody else's signature holds: that of the request which the message answers. @throws CSR_SIGNATURE when it does not */
  signProven(id: string, message: Uint8Array, proof: SignedMessage): Promise<Uint8Array>;
  /** ECDH of a P-256 key with a peer's uncompressed point (65 bytes), then HKDF-SHA-256, straight into a new AES-256 key `targetId`
   *  that never leaves and, as the peer knows it too, wraps no keys. @throws KEY_REFUSED (point off the curve), KEY_EXISTS */
  derive(id: string, peerPoint: Uint8Array, kdf: Kdf, targetId: string): Promise<KeyInfo>;
  /** HMAC-SHA-256 with an AES-256 key (a token takes a subkey of a generated one). @returns 32 bytes */
  mac(id: string, message: Uint8Array): Promise<Uint8Array>;
  /** AES-256-GCM under HKDF-SHA-256(key, kdf, 32). The caller never uses an iv (12 bytes) twice under one key and kdf. @returns ciphertext ‖ tag[16] */
  seal(id: string, kdf: Kdf, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Promise<Uint8Array>;
  /** Generates a P-256 key wrapped under the generated AES-256 key `kekId` (AES-KWP, RFC 5649). It opens under the same `context` only. */
  generateWrapped(kekId: string, context: string): Promise<WrappedKey>;
  /** Signs with a wrapped key: ECDSA P-256 over `digest`, the SHA-256 of what is signed. @returns DER {r, s}
   *  @throws KEY_REFUSED when it does not unwrap under this key and context, or the digest has not 32 bytes */
  signWrapped(kekId: string, context: string, wrapped: Uint8Array, digest: Uint8Array): Promise<Uint8Array>;
  /** The same wrapped key under another generated AES-256 key, in the same context: rotation of the key-encryption key.
   *  @throws KEY_REFUSED when it does not unwrap under `kekId` and context */
  rewrap(kekId: string, context: string, wrapped: Uint8Array, newKekId: string): Promise<Uint8Array>;
  list(): Promise<readonly KeyInfo[]>;
  destroy(id: string): Promise<void>;
  /** Not ok when it is closed or its newest change could not be written. */
  health(): Promise<{ readonly ok: boolean; readonly detail: string }>;
  close(): Promise<void>;
};
