import { concat, fromHex, totalBytes, unwritten } from '../bytes.ts';
import type { Signer } from './certificate.ts';
import { tags } from './der.ts';
import { bitString, context, headOf, integer, integerOf, sequence, time } from './derWriter.ts';
import { authorityKeyIdentifier, extension, freshestCrl, issuingDistributionPoint } from './extensions.ts';
import { signatureAlgorithms } from './keys.ts';
import type { Issuer } from './profiles.ts';
import { type RevocationReason, revocationReasons } from './revocationReasons.ts';

/** Certificate revocation lists (RFC 5280 §5), full and delta. Entries are encoded once and kept so by the caller:
 *  a list of 100 000 is then joined and signed in milliseconds, with turns of others in between. */

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

/** @param nextTurn lets others have theirs while a long list is put together
 *  @returns a signed version 2 CRL with number and authority key identifier (R86, RULE-16) */
export async function buildCrl(fields: CrlFields, signer: Signer, nextTurn: NextTurn = () => undefined): Promise<Uint8Array> {
  const algorithm = signatureAlgorithms[signer.algorithm];
  const times = [time(fields.thisUpdate), time(fields.nextUpdate)];
  const bytes = totalBytes(fields.entries);
  const before = concat(version2, algorithm, fields.issuer.subjectDer, ...times, ...(bytes === 0 ? [] : [headOf(tags.sequence, bytes)]));
  const after = context(0, sequence(...crlExtensions(fields)));
  // Once in memory: megabytes that are copied from one element into the next hold up others.
  const room = unwritten(maxHeadBytes + maxHeadBytes + before.length + bytes + after.length + algorithm.length + maxSignatureBytes);
  const tbsHead = headOf(tags.sequence, before.length + bytes + after.length);
  let at = maxHeadBytes;
  for (const part of [tbsHead, before]) at = put(room, part, at);
  at = await putAll(room, fields.entries, at, nextTurn);
  at = put(room, after, at);
  const signature = await signer.sign(room.subarray(maxHeadBytes, at));
  for (const part of [algorithm, bitString(signature)]) at = put(room, part, at);
  const head = headOf(tags.sequence, at - maxHeadBytes);
  room.set(head, maxHeadBytes - head.length);
  return room.subarray(maxHeadBytes - head.length, at);
}

/** Tag and length of up to 4 GiB. */
const maxHeadBytes = 6;
/** As BIT STRING: P-384 has 104 bytes in DER. */
const maxSignatureBytes = 128;
/** Copied in one turn. */
const bytesInTurn = 256 * 1024;

function put(room: Uint8Array, part: Uint8Array, at: number): number {
  room.set(part, at);
  return at + part.length;
}

type NextTurn = () => unknown;

async function putAll(room: Uint8Array, parts: readonly Uint8Array[], from: number, nextTurn: NextTurn): Promise<number> {
  let [at, turnAt] = [from, from];
  for (const part of parts) {
    at = put(room, part, at);
    if (at - turnAt < bytesInTurn) continue;
    turnAt = at;
    await nextTurn();
  }
  return at;
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
