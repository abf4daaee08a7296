/** Words without a deed yet, each with what will give it one. A word that has its deed leaves the list; the list ends empty. */

/** Commands that nothing outside the domain gives. */
export const commandsToCome: Readonly<Record<string, string>> = {};

/** Events that no fold, read model or subscriber knows. */
export const eventsToCome: Readonly<Record<string, string>> = {};

/** Fields of the domain that nothing sets and nothing reads. */
export const fieldsToCome: Readonly<Record<string, string>> = {};

/** Exports marked `@toCome`, which nothing in the product imports. */
export const exportsToCome: Readonly<Record<string, string>> = {};

/** Events that were written once and are folded for ever, though nothing writes them any more. This list does not shrink. */
export const oldEvents: Readonly<Record<string, string>> = {
  CertificateRenewed: 'OperationalCertificateIssued has taken its place',
};
