/** The one error type of the product and the closed list of its codes.
 *
 *  A code is stable: clients, operators and tests rely on it. `src/api/problem.ts` gives every code its
 *  HTTP status and title; the MQTT and DevAuth edges carry the same code. The text never holds a secret. */

export const errorCodes = [
  // Requests in general
  'BAD_REQUEST',
  'BODY_TOO_LARGE',
  'MEDIA_TYPE',
  'NOT_FOUND',
  'CONFLICT',
  'NOT_OFFERED',
  'KEYGEN_REFUSED',
  'RATE_LIMITED',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'TOKEN_EXPIRED',
  'CLIENT_CERTIFICATE_REQUIRED',
  'CLIENT_CERTIFICATE_REFUSED',
  'FOUR_EYES_REQUIRED',
  'PASSWORD_DISCLOSED',
  'STATE',
  'INTERNAL',
  'SERVER_UNREACHABLE',
  // Start and end of a process
  'PORT_TAKEN',
  'LISTEN_FAILED',
  'FOLDER_MISSING',
  'FOLDER_REFUSED',
  'CLOSE_TIMEOUT',
  // Encodings
  'CBOR_MALFORMED',
  'COSE_MALFORMED',
  'COSE_SIGNATURE',
  'COSE_DECRYPT',
  'DER_MALFORMED',
  'MCTP_MALFORMED',
  'LINK_FAILED',
  'LINK_TIMEOUT',
  'DEBUG_LOCKED',
  'TOPIC_FORBIDDEN',
  'PACKET_TOO_LARGE',
  // Event store
  'REVISION_CONFLICT',
  'STREAM_EXISTS',
  'STREAM_NOT_FOUND',
  'EVENT_TOO_LARGE',
  'STORE_CLOSED',
  'STORE_DAMAGED',
  'STORE_OLDER',
  'STORE_UNAVAILABLE',
  'STORE_FULL',
  'STORE_READ_ONLY',
  'LEADERSHIP_OVER',
  'TOO_MANY_SERVERS',
  'PROJECTION_BEHIND',
  'BLOB_NOT_FOUND',
  'BLOB_DAMAGED',
  'BLOB_TOO_LARGE',
  'CHECKPOINT_MALFORMED',
  'CHECKPOINT_REFUSED',
  'EVIDENCE_MALFORMED',
  'EVIDENCE_REFUSED',
  // Keys and certificates
  'KEYSTORE_MISSING',
  'KEYSTORE_LOCKED',
  'KEYSTORE_DAMAGED',
  'KEYSTORE_WRONG_PASSPHRASE',
  'KEYSTORE_PERMISSIONS',
  'KEYSTORE_UNAVAILABLE',
  'KEY_NOT_FOUND',
  'KEY_EXISTS',
  'KEY_REFUSED',
  'CSR_MALFORMED',
  'CSR_TOO_LARGE',
  'CSR_SIGNATURE',
  'CSR_ALGORITHM',
  'CSR_SUBJECT',
  'OCSP_MALFORMED',
  'WEAK_OR_CLONED_KEY',
  'CERTIFICATE_MALFORMED',
  'CERTIFICATE_TOO_LARGE',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_REVOKED',
  'CHAIN_REFUSED',
  'CA_NOT_ACTIVE',
  // Manufacture
  'UID_CONFLICT',
  'UID_NOT_LISTED',
  'COUNT_EXHAUSTED',
  'COUNT_OVER_PLAN',
  'PROGRAMMER_NOT_ACTIVE',
  'JOB_NOT_RUNNING',
  'PACKAGE_MALFORMED',
  'PACKAGE_REFUSED',
  'PACKAGE_REPLAYED',
  'PACKAGE_EXPIRED',
  'GRANT_EXPIRED',
  'GRANT_USED',
  'LEDGER_GAP',
  'LEDGER_SIGNATURE',
  'RECEIPT_REFUSED',
  'GRANT_REFUSED',
  'ORDER_REFUSED',
  'DEVAUTH_MALFORMED',
  'DEVAUTH_REFUSED',
  'ALLOTMENT_FROZEN',
  // SPDM
  'SPDM_MALFORMED',
  'SPDM_UNEXPECTED',
  'SPDM_UNSUPPORTED',
  'SPDM_SIGNATURE',
  'SPDM_RECORD',
  'SPDM_BUSY',
  'ATTESTATION_FAILED',
  // Firmware
  'IMAGE_MALFORMED',
  'IMAGE_REFUSED',
  'FIRMWARE_NOT_BOUND',
  'WRONG_PRODUCT',
  'WRONG_SITE',
  'DEVICE_STATE',
  'DEVICE_UNREACHABLE',
  'RELEASE_STATE',
  'ROLLBACK',
  'ALREADY',
  'DOWNGRADE',
  'COUNTER_EXHAUSTED',
  'COUNTER_JUMP',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** An error with a stable code. `detail` is for people and must be safe to show to the caller. */
export class NusecError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.name = 'NusecError';
    this.code = code;
  }
}
