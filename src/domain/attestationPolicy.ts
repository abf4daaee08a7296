import { refuse } from './rules.ts';

/** What a line asks of its devices when they are attested. What a device does not speak is no failure of the device. */

export const spdmVersionNames = ['1.0', '1.1', '1.2', '1.3', '1.4'] as const;
export const spdmSignatureNames = ['P-256', 'P-384', 'ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'] as const;
/** Capabilities of DSP0274 that a line may ask for. */
export const spdmCapabilityNames = ['CHAL', 'MEAS_FRESH', 'KEY_EX', 'ENCRYPT', 'MAC', 'MUT_AUTH', 'CHUNK', 'ALIAS_CERT'] as const;

/** What devices prove themselves with: messages of SPDM, or PSA attestation tokens (RFC 9783). */
export const evidenceKinds = ['spdm', 'psa-token'] as const;
export const tokenCallers = ['non-secure', 'secure'] as const;

export type AttestationPolicy = {
  readonly evidence: (typeof evidenceKinds)[number];
  /** No version of SPDM before it. */
  readonly leastVersion: (typeof spdmVersionNames)[number];
  /** Signature algorithms, by their key. */
  readonly signatures: readonly (typeof spdmSignatureNames)[number][];
  /** Capabilities that every device must have. */
  readonly requires: readonly (typeof spdmCapabilityNames)[number][];
  /** Whether a device without certificates may be known by its enrolled public key (slot 0xFF). */
  readonly publicKey: boolean;
  /** Which side of a device asks for tokens: its application, or its secure side. */
  readonly caller: (typeof tokenCallers)[number];
  /** Of the tokens of every device, 32 bytes, hex; any when it is absent. */
  readonly implementationId?: string;
  /** Each connected device proves itself so often; nothing is scheduled when it is absent. */
  readonly everyHours?: number;
  /** How many devices the schedule asks in a minute. */
  readonly perMinute?: number;
};

export const maxEveryHours = 8760;
export const maxPerMinute = 60_000;

export const defaultAttestationPolicy: AttestationPolicy = {
  evidence: 'spdm',
  leastVersion: '1.2',
  signatures: ['P-256', 'P-384'],
  requires: [],
  publicKey: false,
  caller: 'non-secure',
};

/** In the order of the tables, each name once, so that the same wish is the same policy; 0 hours end the schedule, an empty implementation id stands for any. @throws NusecError BAD_REQUEST without an algorithm */
export function wishedPolicy(before: AttestationPolicy, wish: Partial<AttestationPolicy>): AttestationPolicy {
  const { evidence, leastVersion, signatures, requires, publicKey, caller, ...rest } = { ...before, ...wish };
  const { implementationId = '', everyHours = 0, perMinute = 0 } = rest;
  if (signatures.length === 0) refuse('BAD_REQUEST', 'a line allows at least one signature algorithm');
  if (!isWhole(everyHours, maxEveryHours) || !isWhole(perMinute, maxPerMinute))
    refuse('BAD_REQUEST', `a schedule has at most ${maxEveryHours} hours, and ${maxPerMinute} devices a minute`);
  if (!/^([0-9a-f]{64})?$/.test(implementationId)) refuse('BAD_REQUEST', 'an implementation id has 32 bytes, 64 hex digits');
  return {
    evidence,
    leastVersion,
    signatures: spdmSignatureNames.filter(name => signatures.includes(name)),
    requires: spdmCapabilityNames.filter(name => requires.includes(name)),
    publicKey,
    caller,
    ...(implementationId !== '' && { implementationId }),
    ...(everyHours > 0 && { everyHours }),
    ...(perMinute > 0 && { perMinute }),
  };
}

const isWhole = (value: number, most: number): boolean => Number.isInteger(value) && value >= 0 && value <= most;

export const isSamePolicy = (one: AttestationPolicy, other: AttestationPolicy): boolean => JSON.stringify(one) === JSON.stringify(other);
