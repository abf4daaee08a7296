import { fromHex } from '../bytes.ts';
import type { Signer } from './certificate.ts';
import { tags } from './der.ts';
import { bitString, context, integer, integerOf, sequence, time, tlv } from './derWriter.ts';
import { authorityKeyIdentifier, extension, freshestCrl, issuingDistributionPoint } from './extensions.ts';
import { signatureAlgorithms } from './keys.ts';
import type { Issuer } from './profiles.ts';
import { type RevocationReason, revocationReasons } from './revocationReasons.ts';

/** Certificate revocation lists (RFC 5280 §5), full and delta. Entries are encoded once and kept so by the caller:
 *  a list of 100 000 is then joined and signed in milliseconds. */

const version2 = integerOf(1);

/** `serialHex` as issued, `revokedAt` ISO. `removeFromCRL` belongs into delta lists only (§5.3.1). */
export type Revocation = { readonly serialHex: string; readonly revokedAt: string; readonly reason: RevocationReason };

/** One revokedCertificates entry; `unspecified` is said by leaving the reason out (§5.3.1). @returns about 40 bytes of DER */
export function encodeCrlEntry({ serialHex, revokedAt, reason }: Revocation): Uint8Array {
  const serial = integer(fromHex(serialHex));
  return reason === 'unspecified' ? sequence(serial, time(revokedAt)) : sequence(serial, time(revokedAt), reasonExtensions[reason]);
}

export type CrlFields = {
  readonly issuer: Pick<Issuer, 'subjectDer' | 'ski'>;
  /** Rises with every list of this issuer, full or delta (§5.2.3). */
  readonly number: number;
  /** ISO; a list is replaced well before `nextUpdate`. */
  readonly thisUpdate: string;
  readonly nextUpdate: string;
  /** Encoded entries; one element may hold several, end to end. */
  readonly entries: readonly Uint8Array[];
  /** Makes a delta list: number of the full list it completes (§5.2.4). */
  readonly baseNumber?: number;
  /** Where the delta list to this full list is found (§5.2.6). */
  readonly deltaUrl?: string;
  /** Names of its distribution point, for a list of some of the issuer's certificates (§5.2.5); a delta list has those of its full list. */
  readonly urls?: readonly string[] | undefined;
};

/** @returns a signed version 2 CRL with number and authority key identifier (R86, RULE-16) */
export async function buildCrl(fields: CrlFields, signer: Signer): Promise<Uint8Array> {
  const algorithm = signatureAlgorithms[signer.algorithm];
  const times = [time(fields.thisUpdate), time(fields.nextUpdate)];
  const isEmpty = fields.entries.every(entry => entry.length === 0);
  const revoked = isEmpty ? [] : [tlv(tags.sequence, fields.entries)];
  const tbs = sequence(version2, algorithm, fields.issuer.subjectDer, ...times, ...revoked, context(0, sequence(...crlExtensions(fields))));
  return sequence(tbs, algorithm, bitString(await signer.sign(tbs)));
}

function crlExtensions({ issuer, number, baseNumber, deltaUrl, urls }: CrlFields): readonly Uint8Array[] {
  return [
    ...(issuer.ski ? [authorityKeyIdentifier(issuer.ski)] : []),
    extension('crlNumber', false, integerOf(number)),
    ...(baseNumber === undefined ? [] : [extension('deltaCrlIndicator', true, integerOf(baseNumber))]),
    ...(urls === undefined ? [] : [issuingDistributionPoint(urls)]),
    ...(deltaUrl === undefined ? [] : [freshestCrl(deltaUrl)]),
  ];
}

const reasonExtensions = Object.fromEntries(
  Object.entries(revocationReasons).map(([reason, number]) => [
    reason,
    sequence(extension('reasonCode', false, Uint8Array.of(tags.enumerated, 1, number))),
  ]),
) as Readonly<Record<RevocationReason, Uint8Array>>;
