import type { ErrorCode } from '../../errors.ts';
import { isConfirmed } from '../confirmations.ts';
import { statusOf } from '../problem.ts';

/** Which codes a request may be refused with: those of every request, those of what it is about, and those of what it does. */

/** What any request can meet. */
const always: readonly ErrorCode[] = ['BAD_REQUEST', 'RATE_LIMITED', 'INTERNAL', ...serverTroubles()];

function serverTroubles(): readonly ErrorCode[] {
  return [
    'STORE_CLOSED',
    'STORE_UNAVAILABLE',
    'STORE_FULL',
    'STORE_READ_ONLY',
    'PROJECTION_BEHIND',
    'KEYSTORE_UNAVAILABLE',
    'KEYSTORE_LOCKED',
  ];
}

const ofPeople: readonly ErrorCode[] = ['UNAUTHENTICATED', 'TOKEN_EXPIRED', 'FORBIDDEN'];
const ofMachines: readonly ErrorCode[] = [
  'CLIENT_CERTIFICATE_REQUIRED',
  'CLIENT_CERTIFICATE_REFUSED',
  'CHAIN_REFUSED',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_REVOKED',
];
const ofChanges: readonly ErrorCode[] = ['BODY_TOO_LARGE', 'MEDIA_TYPE', 'CONFLICT', 'STATE', 'REVISION_CONFLICT'];
const ofPeoplesChanges: readonly ErrorCode[] = ['PRECONDITION_FAILED', 'IDEMPOTENCY_KEY_REUSED'];
const ofKeys: readonly ErrorCode[] = [
  'CSR_MALFORMED',
  'CSR_TOO_LARGE',
  'CSR_SIGNATURE',
  'CSR_ALGORITHM',
  'CSR_SUBJECT',
  'KEY_REFUSED',
  'WEAK_OR_CLONED_KEY',
  'CA_NOT_ACTIVE',
];

/** By the beginning of the path after `/v1/`, and for a POST, PUT or DELETE only. */
const ofThings: readonly (readonly [RegExp, readonly ErrorCode[]])[] = [
  [
    /^production/,
    [
      'JOB_NOT_RUNNING',
      'PROGRAMMER_NOT_ACTIVE',
      'ALLOTMENT_FROZEN',
      'COUNT_EXHAUSTED',
      'VALUES_EXHAUSTED',
      'UID_NOT_LISTED',
      'UID_CONFLICT',
      'DEVICE_STATE',
    ],
  ],
  [/^production/, ['GRANT_EXPIRED', 'GRANT_USED', 'GRANT_REFUSED', 'LEDGER_GAP', 'LEDGER_SIGNATURE', 'RECEIPT_REFUSED', 'RELEASE_STATE']],
  [/^production\/imports/, ['PACKAGE_MALFORMED', 'PACKAGE_REFUSED', 'PACKAGE_REPLAYED', 'PACKAGE_EXPIRED']],
  [
    /^production\/.*session|^devices\/.*attest/,
    ['SPDM_MALFORMED', 'SPDM_UNEXPECTED', 'SPDM_UNSUPPORTED', 'SPDM_SIGNATURE', 'SPDM_RECORD', 'SPDM_BUSY'],
  ],
  [/^production\/images|evidence/, ['BLOB_NOT_FOUND', 'BLOB_DAMAGED']],
  [/csr$|^est/, ofKeys],
  [
    /^jobs/,
    [
      'FIRMWARE_NOT_BOUND',
      'WRONG_PRODUCT',
      'WRONG_SITE',
      'COUNT_OVER_PLAN',
      'PROGRAMMER_NOT_ACTIVE',
      'RELEASE_STATE',
      'ROLLBACK',
      'COUNTER_EXHAUSTED',
      'ENCRYPTION_REQUIRED',
      'ALLOTMENT_FROZEN',
      'VALUES_EXHAUSTED',
    ],
  ],
  [/^releases/, ['IMAGE_MALFORMED', 'IMAGE_REFUSED', 'RELEASE_STATE', 'COUNTER_JUMP', 'COUNTER_EXHAUSTED', 'ROLLBACK']],
  [/^rollouts/, ['RELEASE_STATE', 'WRONG_PRODUCT', 'DEVICE_STATE', 'DOWNGRADE', 'ROLLBACK', 'ENCRYPTION_REQUIRED', 'ALREADY']],
  [
    /^programmers/,
    ['KEY_REFUSED', 'RECEIPT_REFUSED', 'IMAGE_MALFORMED', 'PROGRAMMER_NOT_ACTIVE', 'COSE_MALFORMED', 'COSE_SIGNATURE', 'CBOR_MALFORMED'],
  ],
  [
    /^(devices|repairs)/,
    ['DEVICE_STATE', 'DEVICE_UNREACHABLE', 'ATTESTATION_FAILED', 'ORDER_REFUSED', 'PASSWORD_DISCLOSED', 'PROGRAMMER_NOT_ACTIVE'],
  ],
  [/^authority/, ['CA_NOT_ACTIVE', 'KEY_NOT_FOUND', 'KEY_EXISTS']],
];

export type Asked = {
  readonly method: string;
  readonly path: string;
  readonly who: 'person' | 'machine' | 'anybody';
  readonly hasParameters: boolean;
};

/** @returns status → codes */
export function refusalsOf({ method, path, who, hasParameters }: Asked): ReadonlyMap<number, readonly ErrorCode[]> {
  const isChange = method !== 'get';
  const about = path.replace(/^\/v1\//, '').replace(/^\/\.well-known\//, '');
  const codes = new Set<ErrorCode>([
    ...always,
    ...(who === 'person' ? ofPeople : who === 'machine' ? ofMachines : []),
    ...(hasParameters || isChange ? (['NOT_FOUND'] as const) : []),
    ...(isChange ? ofChanges : []),
    ...(isChange && who === 'person' ? ofPeoplesChanges : []),
    ...(/\/(approve|release|park)/.test(path) || path.includes('/operators') ? (['FOUR_EYES_REQUIRED', 'PROPOSAL_EXPIRED'] as const) : []),
    ...(isConfirmed(path) ? (['CONFIRMATION_REQUIRED', 'CONFIRMATION_REFUSED'] as const) : []),
    ...(isChange ? ofThings.filter(([pattern]) => pattern.test(about)).flatMap(([, own]) => own) : []),
    ...(!isChange && /images|evidence/.test(about) ? (['BLOB_NOT_FOUND', 'BLOB_DAMAGED'] as const) : []),
  ]);
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) byStatus.set(statusOf(code), [...(byStatus.get(statusOf(code)) ?? []), code]);
  return new Map([...byStatus].sort(([a], [b]) => a - b));
}
