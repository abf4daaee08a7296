import { refuse } from './rules.ts';

/** What a line asks of its devices when they are attested. What a device does not speak is no failure of the device. */

export const spdmVersionNames = ['1.0', '1.1', '1.2', '1.3', '1.4'] as const;
export const spdmSignatureNames = ['P-256', 'P-384', 'ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'] as const;
/** Capabilities of DSP0274 that a line may ask for. */
export const spdmCapabilityNames = ['CHAL', 'MEAS_FRESH', 'KEY_EX', 'ENCRYPT', 'MAC', 'MUT_AUTH', 'CHUNK', 'ALIAS_CERT'] as const;

export type AttestationPolicy = {
  /** No version of SPDM before it. */
  readonly leastVersion: (typeof spdmVersionNames)[number];
  /** Signature algorithms, by their key. */
  readonly signatures: readonly (typeof spdmSignatureNames)[number][];
  /** Capabilities that every device must have. */
  readonly requires: readonly (typeof spdmCapabilityNames)[number][];
  /** Whether a device without certificates may be known by its enrolled public key (slot 0xFF). */
  readonly publicKey: boolean;
};

export const defaultAttestationPolicy: AttestationPolicy = {
  leastVersion: '1.2',
  signatures: ['P-256', 'P-384'],
  requires: [],
  publicKey: false,
};

/** In the order of the tables, each name once, so that the same wish is the same policy. @throws NusecError BAD_REQUEST without an algorithm */
export function wishedPolicy(before: AttestationPolicy, wish: Partial<AttestationPolicy>): AttestationPolicy {
  const { leastVersion, signatures, requires, publicKey } = { ...before, ...wish };
  if (signatures.length === 0) refuse('BAD_REQUEST', 'a line allows at least one signature algorithm');
  return {
    leastVersion,
    signatures: spdmSignatureNames.filter(name => signatures.includes(name)),
    requires: spdmCapabilityNames.filter(name => requires.includes(name)),
    publicKey,
  };
}

export const isSamePolicy = (one: AttestationPolicy, other: AttestationPolicy): boolean => JSON.stringify(one) === JSON.stringify(other);
