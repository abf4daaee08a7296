import { isToken } from '../eat/psaToken.ts';
import { decodeEvidence, type Evidence, encodeEvidence } from '../spdm/evidence.ts';

/** What a device proves itself with: messages of SPDM, or a PSA attestation token, whose bytes are the evidence. */
export type DeviceEvidence = Evidence | TokenEvidence;
type TokenEvidence = { readonly kind: 'psa-token'; readonly token: Uint8Array };

/** The kind shows in the first byte. @throws NusecError SPDM_MALFORMED; what is wrong with a token shows when it is verified */
export const readEvidence = (bytes: Uint8Array): DeviceEvidence =>
  isToken(bytes) ? { kind: 'psa-token', token: bytes } : decodeEvidence(bytes);

export const evidenceBytes = (evidence: DeviceEvidence): Uint8Array =>
  evidence.kind === 'psa-token' ? evidence.token : encodeEvidence(evidence);
