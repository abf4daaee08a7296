import { checkDer, contextConstructed, malformed, tags } from './der.ts';
import { enter, finish, more, nextTag, only, read, readAny, readNumber, readOid } from './derReader.ts';
import { context, integerOf, oid, sequence, setOf, tlv } from './derWriter.ts';
import { oids } from './oids.ts';

/** Certificates as PKCS#7 "certs-only": SignedData without content and signature (RFC 5652 §5, RFC 8551 §3.8), the form of EST. */

const maxCertificates = 32;
/** Largest message that is read. */
const maxCertsOnlyBytes = 64 * 1024;
const signedData = oid(oids.cmsSignedData);
const noContent = sequence(oid(oids.cmsData));

/** @param certificates DER; a receiver must not rely on their order (they are a SET) */
export function buildCertsOnly(certificates: readonly Uint8Array[]): Uint8Array {
  const set = tlv(contextConstructed(0), certificates.toSorted(Buffer.compare));
  return sequence(signedData, context(0, sequence(integerOf(1), setOf(), noContent, set, setOf())));
}

/** @returns the certificates, DER @throws NusecError DER_MALFORMED: not strict DER, not certs-only, none or more than 32 certificates */
export function readCertsOnly(der: Uint8Array): readonly Uint8Array[] {
  if (der.length > maxCertsOnlyBytes) malformed(`PKCS#7 of ${der.length} bytes`);
  checkDer(der);
  const outer = only(der, tags.sequence);
  if (readOid(outer) !== oids.cmsSignedData) malformed('not SignedData');
  const data = enter(enter(outer, contextConstructed(0)), tags.sequence);
  finish(outer);
  if (readNumber(data) !== 1) malformed('SignedData of another version');
  read(data, tags.set);
  const content = enter(data, tags.sequence);
  if (readOid(content) !== oids.cmsData || more(content)) malformed('SignedData with content');
  if (nextTag(data) !== contextConstructed(0)) malformed('no certificates');
  const list = enter(data, contextConstructed(0));
  const found: Uint8Array[] = [];
  while (more(list)) {
    const { tag, whole } = readAny(list);
    if (tag !== tags.sequence || found.length >= maxCertificates) malformed('too many certificates, or something else among them');
    found.push(whole);
  }
  if (read(data, tags.set).length > 0) malformed('SignedData with signatures');
  finish(data);
  if (found.length === 0) malformed('no certificates');
  return found;
}
