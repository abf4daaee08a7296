/** Why a certificate was revoked, in the spelling and with the numbers of RFC 5280 §5.3.1 (7 is not used). */
export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  /** In delta CRLs only: the certificate is no longer on hold, or has expired. */
  removeFromCRL: 8,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;

export type RevocationReason = keyof typeof revocationReasons;

export function isRevocationReason(text: string): text is RevocationReason {
  return Object.hasOwn(revocationReasons, text);
}
