/** The keystore as the rest of the product sees it. There is no way to get a private or secret key out (RULE-1, T17).
 *  Drivers: software.ts (default). Key ids are paths such as `root/1`, `ica/device/1`, `package/1`, `programmer-boot/{uid}`, `programmer-kek/{uid}/{epoch}`. */

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
  /** @throws KEY_EXISTS, KEYSTORE_LOCKED */
  generate(id: string, algorithm: KeyAlgorithm): Promise<KeyInfo>;
  /** @throws KEY_NOT_FOUND */
  publicKey(id: string): Promise<Uint8Array>;
  /** ECDSA over SHA-256 (P-256) or SHA-384 (P-384) of `message`. @returns DER {r, s} */
  sign(id: string, message: Uint8Array): Promise<Uint8Array>;
  /** ECDH with a peer's uncompressed point (65 bytes), then HKDF-SHA-256, straight into a new AES-256 key `targetId` that never leaves. */
  derive(id: string, peerPoint: Uint8Array, kdf: Kdf, targetId: string): Promise<KeyInfo>;
  /** HMAC-SHA-256 with an AES-256 key. @returns 32 bytes */
  mac(id: string, message: Uint8Array): Promise<Uint8Array>;
  /** AES-256-GCM under HKDF-SHA-256(key, kdf, 32), iv 12 bytes. @returns ciphertext ‖ tag[16] */
  seal(id: string, kdf: Kdf, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Promise<Uint8Array>;
  /** Generates a P-256 key wrapped under the AES-256 key `kekId` (AES-KWP, RFC 5649; `context` is bound as authenticated data by the driver). */
  generateWrapped(kekId: string, context: string): Promise<WrappedKey>;
  /** Signs with a wrapped key: ECDSA P-256 over SHA-256 of `message`. @returns DER {r, s} @throws KEY_REFUSED when it does not unwrap under this context */
  signWrapped(kekId: string, context: string, wrapped: Uint8Array, message: Uint8Array): Promise<Uint8Array>;
  list(): Promise<readonly KeyInfo[]>;
  /** @throws KEY_NOT_FOUND */
  destroy(id: string): Promise<void>;
  health(): Promise<{ readonly ok: boolean; readonly detail: string }>;
  close(): Promise<void>;
};
