import { toHex } from '../bytes.ts';
import { checkDer, contextConstructed, derErrorAs, malformed, tags } from './der.ts';
import { type Cursor, enter, finish, more, nextTag, only, read, readAny, readOid, readUnsigned } from './derReader.ts';
import { oids } from './oids.ts';
import { extensionsOf, wholeValue } from './readExtensions.ts';

/** Reads OCSP requests (RFC 6960 §4.1). A signature on a request is not looked at: everybody may ask. */

export const maxOcspRequestBytes = 4096;
/** Certificates asked for in one request. */
export const maxOcspQuestions = 16;
/** RFC 9654 §2.1: 1 to 128 octets. */
const maxNonceBytes = 128;

/** One certificate asked for: its issuer by the hashes of name and key (20 bytes SHA-1 or 32 bytes SHA-256, hex), its serial number as
 *  in `Certificate.serialHex`, and the whole CertID, which the answer repeats byte for byte. */
export type OcspQuestion = {
  readonly certId: Uint8Array;
  readonly hash: 'sha1' | 'sha256' | undefined;
  readonly issuerNameHash: string;
  readonly issuerKeyHash: string;
  readonly serialHex: string;
};

export type OcspRequest = { readonly questions: readonly OcspQuestion[]; readonly nonce?: Uint8Array };

/** @throws NusecError OCSP_MALFORMED: too large, not strict DER, no or too many questions, a nonce of a wrong length, an unknown critical extension */
export function readOcspRequest(der: Uint8Array): OcspRequest {
  return derErrorAs('OCSP_MALFORMED', () => {
    if (der.length > maxOcspRequestBytes) malformed(`request of ${der.length} bytes`);
    checkDer(der);
    const outer = only(der, tags.sequence);
    const request = readTbs(enter(outer, tags.sequence));
    if (nextTag(outer) === contextConstructed(0)) readAny(outer);
    finish(outer);
    return request;
  });
}

function readTbs(tbs: Cursor): OcspRequest {
  if (nextTag(tbs) === contextConstructed(0)) malformed('version is not 1, or is written out');
  if (nextTag(tbs) === contextConstructed(1)) readAny(tbs);
  const list = enter(tbs, tags.sequence);
  const questions: OcspQuestion[] = [];
  while (more(list)) {
    if (questions.length >= maxOcspQuestions) malformed(`more than ${maxOcspQuestions} questions`);
    questions.push(readQuestion(enter(list, tags.sequence)));
  }
  if (questions.length === 0) malformed('no question');
  const nonce = nextTag(tbs) === contextConstructed(2) ? readNonce(enter(tbs, contextConstructed(2))) : undefined;
  finish(tbs);
  return { questions, ...(nonce && { nonce }) };
}

function readQuestion(question: Cursor): OcspQuestion {
  const certId = readAny(question).whole;
  if (nextTag(question) === contextConstructed(0)) readExtensionsOf(enter(question, contextConstructed(0)));
  finish(question);
  const fields = only(certId, tags.sequence);
  const hash = readHash(enter(fields, tags.sequence));
  const issuerNameHash = toHex(read(fields, tags.octetString));
  const issuerKeyHash = toHex(read(fields, tags.octetString));
  const serialHex = toHex(readUnsigned(fields));
  finish(fields);
  return { certId, hash, issuerNameHash, issuerKeyHash, serialHex };
}

/** AlgorithmIdentifier of a hash, parameters NULL or absent. */
function readHash(algorithm: Cursor): OcspQuestion['hash'] {
  const id = readOid(algorithm);
  if (more(algorithm)) read(algorithm, tags.null);
  finish(algorithm);
  return id === oids.sha1 ? 'sha1' : id === oids.sha256 ? 'sha256' : undefined;
}

function readNonce(field: Cursor): Uint8Array | undefined {
  const value = readExtensionsOf(field).get(oids.ocspNonce);
  if (value === undefined) return undefined;
  const nonce = wholeValue(value, from => read(from, tags.octetString));
  if (nonce.length < 1 || nonce.length > maxNonceBytes) malformed(`a nonce has 1 to ${maxNonceBytes} bytes`);
  return nonce;
}

/** Values by object identifier. A critical extension that is not the nonce is refused (§4.4). */
function readExtensionsOf(field: Cursor): ReadonlyMap<string, Uint8Array> {
  const list = enter(field, tags.sequence);
  finish(field);
  const found = new Map<string, Uint8Array>();
  for (const { id, critical, value } of extensionsOf(list)) {
    if (critical && id !== oids.ocspNonce) malformed(`unknown critical extension ${id}`);
    found.set(id, value);
  }
  return found;
}
