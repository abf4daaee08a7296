import { type Curve, curveOf, pointOf, type SignedMessage, spkiOfPoint, verifyOnce } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { checkDer, contextConstructed, derErrorAs, malformed, tags } from './der.ts';
import { type Element, enter, finish, more, only, readAny, readBits, readNumber, readOid } from './derReader.ts';
import { bitString, context, integerOf, sequence } from './derWriter.ts';
import { signatureAlgorithms } from './keys.ts';
import { encodeName, type NameFields, readName } from './names.ts';

/** Certification requests (PKCS#10, RFC 2986). A request proves possession of a key and names its owner; nothing else in it counts:
 *  the certificate is built from a profile (T32). */

const onlyP256: readonly Curve[] = ['P-256'];

/** Largest request that is looked at. */
export const maxCsrBytes = 2048;

/** Those that tools sign requests with (RFC 5758 §3.2, RFC 8017 appendix A.2, RFC 3279 §2.2.3). */
const algorithmNames: Readonly<Record<string, string>> = {
  '1.2.840.10045.4.1': 'ecdsa-with-SHA1',
  '1.2.840.10045.4.3.1': 'ecdsa-with-SHA224',
  '1.2.840.10045.4.3.2': 'ecdsa-with-SHA256',
  '1.2.840.10045.4.3.3': 'ecdsa-with-SHA384',
  '1.2.840.10045.4.3.4': 'ecdsa-with-SHA512',
};

const uidPattern = /^[0-9a-f]{32}$/;

/** What a request names: `uid` is the subject serialNumber (32 lower-case hex), `objId` the common name,
 *  `publicKey` the SubjectPublicKeyInfo (91 bytes, P-384: 120), `point` the uncompressed point (65 or 97 bytes). */
export type RequestInfo = {
  readonly subject: NameFields;
  readonly uid?: string;
  readonly objId?: string;
  readonly publicKey: Uint8Array;
  readonly point: Uint8Array;
};

/** Judges a certification request: strict DER, version 0, P-256 key on the curve, signed by that key (RFC 2986 §4.2; R75–R78, RULE-10).
 *  Requested extensions and all other attributes are ignored.
 *  @param der       PKCS#10 request, at most 2 KiB
 *  @param expected  the subject as minted: a request names nobody, or exactly this commonName and serialNumber;
 *                   organization and organizationalUnit may be left out but not differ (I6)
 *  @param curves    of keys that are taken; P-256 alone when not given
 *  @throws NusecError CSR_TOO_LARGE, CSR_MALFORMED, KEY_REFUSED, CSR_ALGORITHM, CSR_SIGNATURE, CSR_SUBJECT */
export function judgeCsr(der: Uint8Array, expected?: NameFields, curves: readonly Curve[] = onlyP256): RequestInfo {
  const { proof, ...info } = readUnproven(der, curves);
  requirePossession(proof);
  if (expected) checkSubject(info.subject, expected);
  return info;
}

/** A request that is as it should be, but for its signature, which whoever goes on with it verifies: `proof`. */
export type UnprovenRequest = RequestInfo & { readonly proof: SignedMessage };

/** As judgeCsr, without verifying the signature. @throws as judgeCsr, without CSR_SIGNATURE */
export function judgeUnproven(der: Uint8Array, expected: NameFields, curves: readonly Curve[] = onlyP256): UnprovenRequest {
  const request = readUnproven(der, curves);
  checkSubject(request.subject, expected);
  return request;
}

function readUnproven(der: Uint8Array, curves: readonly Curve[]): UnprovenRequest {
  const { cri, algorithm, signature } = partsOf(der);
  const info = readInfo(cri, curves);
  const curve = curveOf(info.publicKey) ?? 'P-256';
  checkAlgorithm(curve, algorithm);
  return { ...info, proof: { curve, publicKey: info.publicKey, message: cri, signature } };
}

/** @throws NusecError CSR_SIGNATURE; KEY_REFUSED when the point is not on the curve */
export function requirePossession(proof: SignedMessage): void {
  if (!verifyOnce(proof)) throw new NusecError('CSR_SIGNATURE', 'the request is not signed by the key it names');
}

/** What a request says, before anybody has verified it: to find out by whom it is to be judged.
 *  @throws NusecError CSR_TOO_LARGE, CSR_MALFORMED, KEY_REFUSED, CSR_SUBJECT */
export const readCsr = (der: Uint8Array): RequestInfo => readInfo(partsOf(der).cri);

/** The CertificationRequestInfo that is to be signed: this name, this key, no attributes (RFC 2986 §4.1).
 *  @param publicKeyPoint uncompressed P-256 point, 65 bytes @throws KEY_REFUSED, BAD_REQUEST */
export function buildCertificationRequestInfo(request: { readonly subject: NameFields; readonly publicKeyPoint: Uint8Array }): Uint8Array {
  return sequence(integerOf(0), encodeName(request.subject), spkiOfPoint(request.publicKeyPoint), context(0));
}

/** Reads a CertificationRequestInfo as strictly as `judgeCsr`. The target calls it before it signs, to see that the request carries
 *  its own key and UID (T28). @throws CSR_TOO_LARGE, CSR_MALFORMED, CSR_SUBJECT, KEY_REFUSED */
export function readCertificationRequestInfo(cri: Uint8Array): RequestInfo {
  if (cri.length > maxCsrBytes) throw new NusecError('CSR_TOO_LARGE', `request of ${cri.length} bytes, at most ${maxCsrBytes}`);
  return readInfo(cri);
}

/** @param cri CertificationRequestInfo DER @param derSignature ECDSA {r, s} over SHA-256 of it @returns the PKCS#10 request (R14) */
export function assembleCsr(cri: Uint8Array, derSignature: Uint8Array): Uint8Array {
  return sequence(cri, signatureAlgorithms['P-256'], bitString(derSignature));
}

type Parts = { readonly cri: Uint8Array; readonly algorithm: Uint8Array; readonly signature: Uint8Array };

function partsOf(der: Uint8Array): Parts {
  if (der.length > maxCsrBytes) throw new NusecError('CSR_TOO_LARGE', `request of ${der.length} bytes, at most ${maxCsrBytes}`);
  return derErrorAs('CSR_MALFORMED', () => split(der));
}

function split(der: Uint8Array): Parts {
  const request = only(der, tags.sequence);
  const cri = readAny(request).whole;
  const algorithm = readAny(request).whole;
  const signature = readBits(request);
  finish(request);
  return { cri, algorithm, signature };
}

function readInfo(cri: Uint8Array, curves: readonly Curve[] = onlyP256): RequestInfo {
  const { name, publicKey } = derErrorAs('CSR_MALFORMED', () => readFields(cri));
  const curve = curveOf(publicKey);
  if (curve === undefined || !curves.includes(curve))
    throw new NusecError('KEY_REFUSED', `only ${curves.join(' and ')} keys with a named curve and an uncompressed point`);
  if (name.unknown.length > 0) throw new NusecError('CSR_SUBJECT', `attribute ${name.unknown[0]} in the subject`);
  const uidForm = name.fields.serialNumber === undefined || uidPattern.test(name.fields.serialNumber);
  if (!uidForm) throw new NusecError('CSR_SUBJECT', 'serialNumber is not 32 lower-case hex digits');
  const { serialNumber: uid, commonName: objId } = name.fields;
  return {
    subject: name.fields,
    ...(uid !== undefined && { uid }),
    ...(objId !== undefined && { objId }),
    publicKey,
    point: pointOf(publicKey),
  };
}

function readFields(cri: Uint8Array) {
  const info = only(cri, tags.sequence);
  if (readNumber(info) !== 0) throw new NusecError('CSR_MALFORMED', 'version of the request is not 0');
  const name = readName(info);
  const publicKey = readAny(info).whole;
  const attributes = enter(info, contextConstructed(0));
  while (more(attributes)) checkAttribute(readAny(attributes));
  finish(info);
  return { name, publicKey };
}

function checkAttribute({ tag, whole }: Element): void {
  if (tag !== tags.sequence) malformed('attribute of another type');
  checkDer(whole);
}

function checkAlgorithm(curve: Curve, algorithm: Uint8Array): void {
  if (Buffer.compare(algorithm, signatureAlgorithms[curve]) !== 0)
    throw new NusecError(
      'CSR_ALGORITHM',
      `the request is signed with ${nameOf(algorithm)}; only ${nameOf(signatureAlgorithms[curve])} is taken (without parameters)`,
    );
}

/** Of an AlgorithmIdentifier, for people. */
function nameOf(algorithm: Uint8Array): string {
  const id = derErrorAs('CSR_MALFORMED', () => readOid(only(algorithm, tags.sequence)));
  return algorithmNames[id] ?? id;
}

function checkSubject(subject: NameFields, expected: NameFields): void {
  if (Object.keys(subject).length === 0) return;
  const identical = subject.commonName === expected.commonName && subject.serialNumber === expected.serialNumber;
  const compatible = (['country', 'organization', 'organizationalUnit'] as const).every(
    field => subject[field] === undefined || subject[field] === expected[field],
  );
  if (!identical || !compatible) throw new NusecError('CSR_SUBJECT', 'the subject of the request is not the one expected');
}
