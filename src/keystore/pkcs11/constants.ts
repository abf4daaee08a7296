/** Numbers of PKCS#11 (OASIS PKCS #11 Cryptographic Token Interface v2.40, appendix B of the base specification and of the
 *  current mechanisms); names as there, without their prefix. */

/** Object classes, CKO_. */
export const objectClass = { publicKey: 2, privateKey: 3, secretKey: 4 } as const;

/** Key types, CKK_. */
export const keyType = { ec: 0x03, genericSecret: 0x10, aes: 0x1f } as const;

/** Attributes, CKA_. */
export const attribute = {
  class: 0x00,
  token: 0x01,
  private: 0x02,
  label: 0x03,
  value: 0x11,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  encrypt: 0x104,
  decrypt: 0x105,
  wrap: 0x106,
  unwrap: 0x107,
  sign: 0x108,
  verify: 0x10a,
  derive: 0x10c,
  valueLen: 0x161,
  extractable: 0x162,
  modifiable: 0x170,
  ecParams: 0x180,
  ecPoint: 0x181,
} as const;

/** Mechanisms, CKM_. */
export const mechanism = {
  sha256: 0x250,
  sha256Hmac: 0x251,
  ecKeyPairGen: 0x1040,
  ecdsa: 0x1041,
  ecdh1Derive: 0x1050,
  aesKeyGen: 0x1080,
  aesCbcEncryptData: 0x1105,
  /** RFC 5649 in SoftHSM, and in what followed v2.40. */
  aesKeyWrapPad: 0x210a,
  /** RFC 5649 since v3.0. */
  aesKeyWrapKwp: 0x210b,
} as const;

/** CKD_NULL: the agreed value as it is. */
export const kdfNull = 1;
/** CKF_RW_SESSION | CKF_SERIAL_SESSION. */
export const sessionFlags = 0x2 | 0x4;
/** CKF_OS_LOCKING_OK: we call from several threads, each with a session of its own. */
export const lockingFlag = 0x2;
/** CKU_USER. */
export const userType = 1;

/** Return values that the driver distinguishes, CKR_. */
export const returnNames: Readonly<Record<number, string>> = {
  5: 'GENERAL_ERROR',
  6: 'FUNCTION_FAILED',
  48: 'DEVICE_ERROR',
  49: 'DEVICE_MEMORY',
  50: 'DEVICE_REMOVED',
  3: 'SLOT_ID_INVALID',
  96: 'KEY_HANDLE_INVALID',
  130: 'OBJECT_HANDLE_INVALID',
  160: 'PIN_INCORRECT',
  161: 'PIN_INVALID',
  162: 'PIN_LEN_RANGE',
  164: 'PIN_LOCKED',
  176: 'SESSION_CLOSED',
  179: 'SESSION_HANDLE_INVALID',
  224: 'TOKEN_NOT_PRESENT',
  225: 'TOKEN_NOT_RECOGNIZED',
  257: 'USER_NOT_LOGGED_IN',
  400: 'CRYPTOKI_NOT_INITIALIZED',
};
