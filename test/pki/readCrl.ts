import { verify } from 'node:crypto';
import { equalBytes, toHex } from '../../src/bytes.ts';
import { digestOf, importKey } from '../../src/ecKey.ts';
import { NusecError } from '../../src/errors.ts';
import type { Revocation } from '../../src/pki/crl.ts';
import { checkDer, contextConstructed, contextPrimitive, malformed, tags } from '../../src/pki/der.ts';
import {
  type Cursor,
  enter,
  finish,
  more,
  nextTag,
  only,
  read,
  readAny,
  readBits,
  readNumber,
  readTime,
  readUnsigned,
} from '../../src/pki/derReader.ts';
import { signatureAlgorithms } from '../../src/pki/keys.ts';
import { oids } from '../../src/pki/oids.ts';
import type { Certificate } from '../../src/pki/parse.ts';
import { authorityKeyIdentifier, extensionsOf, wholeValue } from '../../src/pki/readExtensions.ts';
import { type RevocationReason, revocationReasons } from '../../src/pki/revocationReasons.ts';

/** Reads and verifies certificate revocation lists (RFC 5280 §5, §6.3.3): a second reading of what the server writes. */

/** Largest list that is read: about 1.6 million entries. */
export const maxCrlBytes = 64 << 20;
const version2 = 1;

/** Times are ISO. `baseNumber` is there in a delta list. */
export type Crl = {
  readonly number: number;
  readonly baseNumber?: number;
  readonly thisUpdate: string;
  readonly nextUpdate: string;
  readonly entries: readonly Revocation[];
  /** Names of its distribution point, when it is a list of some certificates only. */
  readonly urls?: readonly string[];
};

/** @param issuer  the authority whose list it must be  @param now ISO or milliseconds, undefined without a trusted clock
 *  @throws NusecError DER_MALFORMED (not strict DER, not version 2, without number or nextUpdate, unknown critical extension),
 *  CHAIN_REFUSED (another issuer, issuer may not sign lists, signature, out of date) */
export function readCrl(der: Uint8Array, issuer: Certificate, now: string | number | undefined): Crl {
  if (der.length > maxCrlBytes) malformed(`CRL of ${der.length} bytes`);
  checkDer(der);
  const outer = only(der, tags.sequence);
  const tbs = readAny(outer).whole;
  const algorithm = readAny(outer).whole;
  const signature = readBits(outer);
  finish(outer);
  checkSignature(issuer, tbs, algorithm, signature);
  const crl = readList(only(tbs, tags.sequence), algorithm, issuer);
  checkTime(crl, now);
  return crl;
}

function checkSignature(issuer: Certificate, tbs: Uint8Array, algorithm: Uint8Array, signature: Uint8Array): void {
  if (!issuer.isCa || !issuer.keyUsage?.crlSign || !issuer.curve) refuse('its issuer may not sign lists');
  if (!equalBytes(algorithm, signatureAlgorithms[issuer.curve])) refuse('the signature algorithm is not its issuer’s');
  if (!verify(digestOf[issuer.curve], tbs, importKey(issuer.spki), signature)) refuse('its issuer did not make the signature');
}

function readList(tbs: Cursor, algorithm: Uint8Array, issuer: Certificate): Crl {
  if (readNumber(tbs) !== version2) malformed('not a version 2 CRL');
  if (!equalBytes(readAny(tbs).whole, algorithm)) malformed('two different signature algorithms');
  if (!equalBytes(readAny(tbs).whole, issuer.subjectDer)) refuse('it is of another issuer');
  const times = { thisUpdate: readTime(tbs), nextUpdate: readTime(tbs) };
  if (times.nextUpdate < times.thisUpdate) malformed('CRL that ends before it begins');
  const entries = nextTag(tbs) === tags.sequence ? readEntries(enter(tbs, tags.sequence)) : [];
  const { aki, ...numbers } = readCrlExtensions(only(read(tbs, contextConstructed(0)), tags.sequence));
  finish(tbs);
  if (aki && issuer.ski && !equalBytes(aki, issuer.ski)) refuse('it is of another key of its issuer');
  return { ...numbers, ...times, entries };
}

function readEntries(list: Cursor): readonly Revocation[] {
  const entries: Revocation[] = [];
  if (!more(list)) malformed('empty list of entries');
  while (more(list)) entries.push(readEntry(enter(list, tags.sequence)));
  return entries;
}

function readEntry(entry: Cursor): Revocation {
  const serialHex = toHex(readUnsigned(entry));
  const revokedAt = readTime(entry);
  let reason: Revocation['reason'] = 'unspecified';
  for (const { id, critical, value } of more(entry) ? extensionsOf(enter(entry, tags.sequence)) : []) {
    if (id === oids.reasonCode) reason = wholeValue(value, readReason);
    else if (critical) malformed(`unknown critical extension ${id}`);
  }
  finish(entry);
  return { serialHex, revokedAt, reason };
}

function readReason(from: Cursor): Revocation['reason'] {
  const [number = 0, ...others] = read(from, tags.enumerated);
  return (others.length === 0 ? reasonOfNumber(number) : undefined) ?? malformed('unknown reason');
}

function reasonOfNumber(number: number): RevocationReason | undefined {
  return (Object.keys(revocationReasons) as RevocationReason[]).find(reason => revocationReasons[reason] === number);
}

type Found = { number: number; baseNumber?: number; aki?: Uint8Array; urls?: readonly string[] };

function readCrlExtensions(list: Cursor): Found {
  const found: Partial<Found> = {};
  for (const { id, critical, value } of extensionsOf(list)) {
    if (id === oids.crlNumber) found.number = wholeValue(value, readNumber);
    else if (id === oids.deltaCrlIndicator) found.baseNumber = wholeValue(value, readNumber);
    else if (id === oids.issuingDistributionPoint && critical) found.urls = readDistributionPoint(only(value, tags.sequence));
    else if (id === oids.authorityKeyIdentifier) Object.assign(found, authorityKeyIdentifier(value));
    else if (critical) malformed(`unknown critical extension ${id}`);
  }
  const { number = malformed('CRL without a number') } = found;
  return { ...found, number };
}

/** Full names that are URIs, and nothing else (§5.2.5). */
function readDistributionPoint(point: Cursor): readonly string[] {
  const name = enter(point, contextConstructed(0));
  finish(point);
  const names = enter(name, contextConstructed(0));
  finish(name);
  const urls: string[] = [];
  while (more(names)) urls.push(Buffer.from(read(names, contextPrimitive(6))).toString('latin1'));
  return urls;
}

function checkTime({ thisUpdate, nextUpdate }: Crl, now: string | number | undefined): void {
  if (now === undefined) return;
  const at = new Date(now).toISOString();
  if (at < thisUpdate) refuse(`it is not valid before ${thisUpdate}`);
  if (at > nextUpdate) refuse(`it was valid until ${nextUpdate}`);
}

function refuse(reason: string): never {
  throw new NusecError('CHAIN_REFUSED', `CRL refused: ${reason}`);
}
