import { toHex } from '../bytes.ts';
import { type Curve, curveOf, pointOf } from '../ecKey.ts';
import { checkDer, contextConstructed, derErrorAs, malformed, tags } from './der.ts';
import { type Cursor, enter, finish, more, only, readAny, readBits, readNumber, readOid, readTime, readUnsigned } from './derReader.ts';
import { signatureAlgorithms } from './keys.ts';
import { type NameFields, readName } from './names.ts';
import { oids } from './oids.ts';
import type { ProfileName } from './profiles.ts';
import { type Extensions, noExtensions, readExtensions } from './readExtensions.ts';

/** Reads certificates (RFC 5280 §4.1), strictly, from any issuer. Nothing is verified here: see `chain.ts`. */

/** Largest certificate that is read; ours have at most 2000 bytes, foreign ones may be larger. */
export const maxReadCertificateBytes = 8192;
const maxSerialBytes = 20;
const version3 = 2;

/** Times are ISO (they compare as text), `serialHex` lower case without sign byte, `uid` the subject serialNumber when it has the
 *  form of a UID, `objId` the common name of a device. `curve`, `point`: P-256 and P-384 keys only. `signatureCurve`: curve of the
 *  issuer's key, undefined when it is not ECDSA with SHA-256 or SHA-384. `kind` is the profile it looks like. All bytes are views. */
export type Certificate = Extensions & {
  readonly der: Uint8Array;
  readonly tbs: Uint8Array;
  readonly signature: Uint8Array;
  readonly signatureCurve?: Curve;
  readonly serialHex: string;
  readonly issuer: NameFields;
  readonly issuerDer: Uint8Array;
  readonly subject: NameFields;
  readonly subjectDer: Uint8Array;
  readonly uid?: string;
  readonly objId?: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly spki: Uint8Array;
  readonly curve?: Curve;
  readonly point?: Uint8Array;
  readonly kind: ProfileName | 'unknown';
  /** Issuer and subject have the same name. */
  readonly isSelfIssued: boolean;
};

/** @param der one X.509 v3 certificate, at most 8 KiB
 *  @throws NusecError CERTIFICATE_MALFORMED: not strict DER, not v3, a repeated or an unknown critical extension */
export function parseCertificate(der: Uint8Array): Certificate {
  return derErrorAs('CERTIFICATE_MALFORMED', () => {
    if (der.length > maxReadCertificateBytes) malformed(`certificate of ${der.length} bytes`);
    checkDer(der);
    const outer = only(der, tags.sequence);
    const tbs = readAny(outer).whole;
    const algorithm = readAny(outer).whole;
    const signature = readBits(outer);
    finish(outer);
    return { der, tbs, signature, ...readTbs(only(tbs, tags.sequence), algorithm) };
  });
}

function readTbs(tbs: Cursor, algorithm: Uint8Array) {
  if (readNumber(enter(tbs, contextConstructed(0))) !== version3) malformed('not a version 3 certificate');
  const serial = readUnsigned(tbs);
  if (serial.length > maxSerialBytes || (serial.length === 1 && serial[0] === 0)) malformed('serial number zero or over 20 bytes');
  if (Buffer.compare(readAny(tbs).whole, algorithm) !== 0) malformed('two different signature algorithms');
  const issuer = readWholeName(tbs);
  const validity = enter(tbs, tags.sequence);
  const times = { notBefore: readTime(validity), notAfter: readTime(validity) };
  finish(validity);
  const subject = readWholeName(tbs);
  const spki = readAny(tbs).whole;
  const extensions = more(tbs) ? readExtensions(only(readOnly(tbs), tags.sequence)) : noExtensions;
  const names = { issuer: issuer.fields, issuerDer: issuer.whole, subject: subject.fields, subjectDer: subject.whole };
  const isSelfIssued = Buffer.compare(issuer.whole, subject.whole) === 0;
  const kind = kindOf(extensions, isSelfIssued);
  return {
    serialHex: toHex(serial),
    ...names,
    ...identityOf(subject.fields, kind),
    ...times,
    spki,
    ...keyOf(spki),
    ...signatureCurveOf(algorithm),
    ...extensions,
    kind,
    isSelfIssued,
  };
}

function readWholeName(tbs: Cursor) {
  const at = tbs.at;
  const { fields } = readName(tbs);
  return { fields, whole: tbs.bytes.subarray(at, tbs.at) };
}

/** Content of the [3] field, behind which nothing may follow; unique identifiers ([1], [2]) are not accepted. */
function readOnly(tbs: Cursor): Uint8Array {
  const { tag, content } = readAny(tbs);
  if (tag !== contextConstructed(3)) malformed('field that is not extensions');
  finish(tbs);
  return content;
}

function identityOf(subject: NameFields, kind: Certificate['kind']): { uid?: string; objId?: string } {
  const uid = subject.serialNumber !== undefined && /^[0-9a-f]{32}$/.test(subject.serialNumber) ? subject.serialNumber : undefined;
  const objId = kind === 'device' ? subject.commonName : undefined;
  return { ...(uid !== undefined && { uid }), ...(objId !== undefined && { objId }) };
}

function keyOf(spki: Uint8Array): { curve?: Curve; point?: Uint8Array } {
  const curve = curveOf(spki);
  if (curve) return { curve, point: pointOf(spki) };
  const fields = only(spki, tags.sequence);
  checkAlgorithm(readAny(fields).whole);
  readBits(fields);
  finish(fields);
  return {};
}

function signatureCurveOf(algorithm: Uint8Array): { signatureCurve?: Curve } {
  const curve = (['P-256', 'P-384'] as const).find(one => Buffer.compare(signatureAlgorithms[one], algorithm) === 0);
  if (curve) return { signatureCurve: curve };
  checkAlgorithm(algorithm);
  return {};
}

/** AlgorithmIdentifier of whatever algorithm: an identifier and at most one parameter (RFC 5280 §4.1.1.2). */
function checkAlgorithm(algorithm: Uint8Array): void {
  const fields = only(algorithm, tags.sequence);
  readOid(fields);
  if (more(fields)) readAny(fields);
  finish(fields);
}

function kindOf({ isCa, eku = [] }: Extensions, selfIssued: boolean): Certificate['kind'] {
  if (isCa) return selfIssued ? 'rootCa' : 'ica';
  if (eku.includes(oids.programmerAuth)) return 'programmer';
  if (eku.includes(oids.gatewayAuth)) return 'gateway';
  if (eku.includes(oids.ocspSigning)) return 'ocspResponder';
  if (eku.includes(oids.logSigning)) return 'log';
  if (eku.includes(oids.serverAuth)) return 'server';
  return eku.includes(oids.spdmResponderAuth) ? 'device' : 'unknown';
}
