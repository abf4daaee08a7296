import { type ErrorCode, NusecError } from '../../errors.ts';

/** Why evidence is not accepted: a stable code, and a text for people. */
export type Refusal = { readonly code: ErrorCode; readonly detail: string };

/** What is wrong with evidence or a verdict, and nothing else: neither the link, nor this server. */
const faultsOfEvidence: ReadonlySet<ErrorCode> = new Set([
  'ATTESTATION_FAILED',
  'CBOR_MALFORMED',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_MALFORMED',
  'CERTIFICATE_REVOKED',
  'CERTIFICATE_TOO_LARGE',
  'CHAIN_REFUSED',
  'CLIENT_CERTIFICATE_REFUSED',
  'COSE_MALFORMED',
  'COSE_SIGNATURE',
  'DER_MALFORMED',
  'EVIDENCE_MALFORMED',
  'EVIDENCE_UNSUPPORTED',
  'KEY_REFUSED',
  'SPDM_MALFORMED',
  'SPDM_RECORD',
  'SPDM_SIGNATURE',
  'SPDM_UNEXPECTED',
  'SPDM_UNSUPPORTED',
]);

/** @throws the error itself when the evidence is not to blame for it */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof NusecError && faultsOfEvidence.has(error.code)) return { code: error.code, detail: error.message };
  throw error;
}
