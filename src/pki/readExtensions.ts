import { checkDer, contextConstructed, contextPrimitive, malformed, tags } from './der.ts';
import { type Cursor, cursor, enter, finish, more, nextTag, only, read, readAny, readNumber, readOid } from './derReader.ts';
import { boolean } from './derWriter.ts';
import { generalNames } from './extensions.ts';
import { type AltName, altNameOf, type NameConstraints, readNameConstraints } from './nameConstraints.ts';
import { oids } from './oids.ts';
import { type PolicyConstraints, readPolicyConstraints } from './policyConstraints.ts';

/** Reads the extensions of a certificate (RFC 5280 §4.2). A critical one that is not understood is refused, as is a repeated one. */

const maxExtensions = 24;

/** Bits of keyUsage that matter here (RFC 5280 §4.2.1.3). */
type KeyUsage = { readonly digitalSignature: boolean; readonly keyCertSign: boolean; readonly crlSign: boolean };

/** `eku` holds dotted object identifiers; `ipAddresses` 4 or 16 bytes each; `hardwareSerial` the UID of a HardwareModuleName (RFC 4108). */
export type Extensions = {
  readonly isCa: boolean;
  readonly pathLength?: number;
  readonly keyUsage?: KeyUsage;
  readonly eku?: readonly string[];
  /** Dotted object identifiers of its certificate policies. */
  readonly policies?: readonly string[];
  /** Version of the trust bundle that was the newest when this issuing CA was made. */
  readonly bundleBefore?: number;
  readonly ski?: Uint8Array;
  readonly aki?: Uint8Array;
  readonly crlUrl?: string;
  readonly ocspUrl?: string;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly Uint8Array[];
  readonly hardwareSerial?: Uint8Array;
  /** All names of subjectAltName, whatever their form. */
  readonly altNames: readonly AltName[];
  readonly nameConstraints?: NameConstraints;
  readonly policyConstraints?: PolicyConstraints;
  readonly inhibitAnyPolicy?: number;
};

type Part = Partial<Extensions>;
/** Of a certificate that has none. */
export const noExtensions: Extensions = { isCa: false, dnsNames: [], ipAddresses: [], altNames: [] };

const readers: ReadonlyMap<string, (value: Uint8Array) => Part> = new Map([
  [oids.basicConstraints, basicConstraints],
  [oids.keyUsage, keyUsage],
  [oids.extKeyUsage, extKeyUsage],
  [oids.subjectKeyIdentifier, subjectKeyIdentifier],
  [oids.authorityKeyIdentifier, authorityKeyIdentifier],
  [oids.subjectAltName, subjectAltName],
  [oids.crlDistributionPoints, crlDistributionPoints],
  [oids.authorityInfoAccess, authorityInfoAccess],
  [oids.certificatePolicies, certificatePolicies],
  [oids.nameConstraints, nameConstraints],
  [oids.policyConstraints, policyConstraints],
  [oids.inhibitAnyPolicy, inhibitAnyPolicy],
  [oids.bundleBefore, bundleBefore],
] as const);

/** What must be critical, so that who does not know it refuses (RFC 5280 §4.2.1.10, §4.2.1.11, §4.2.1.14), and what must not (§4.2.1.1, §4.2.1.2,
 *  §4.2.2.1). */
const alwaysCritical: readonly string[] = [oids.nameConstraints, oids.policyConstraints, oids.inhibitAnyPolicy];
const neverCritical: readonly string[] = [oids.authorityKeyIdentifier, oids.subjectKeyIdentifier, oids.authorityInfoAccess];

/** @param list cursor inside `Extensions ::= SEQUENCE OF Extension` @throws DER_MALFORMED */
export function readExtensions(list: Cursor): Extensions {
  const found: Extensions = { ...noExtensions };
  for (const { id, critical, value } of extensionsOf(list)) {
    const reader = readers.get(id);
    if (critical ? neverCritical.includes(id) : alwaysCritical.includes(id)) malformed(`extension ${id} ${critical ? '' : 'not '}critical`);
    if (reader) {
      checkDer(value);
      Object.assign(found, reader(value));
    } else if (critical) malformed(`unknown critical extension ${id}`);
  }
  if (found.nameConstraints !== undefined && !found.isCa) malformed('name constraints of no authority');
  return found;
}

export type Extension = { readonly id: string; readonly critical: boolean; readonly value: Uint8Array };

/** Extensions of a certificate, a list, an entry or a request: at least one, each once (RFC 5280 §4.1.2.9, §4.2). @throws DER_MALFORMED */
export function extensionsOf(list: Cursor): readonly Extension[] {
  const found: Extension[] = [];
  do {
    const one = readExtension(list);
    if (found.some(({ id }) => id === one.id)) malformed(`extension ${one.id} twice`);
    if (found.push(one) > maxExtensions) malformed('too many extensions');
  } while (more(list));
  return found;
}

/** The one element that is the value of an extension. @throws DER_MALFORMED */
export function wholeValue<Value>(value: Uint8Array, read: (from: Cursor) => Value): Value {
  const from = cursor(value);
  const result = read(from);
  finish(from);
  return result;
}

/** One Extension; `critical` is FALSE only by absence (X.690 §11.5). */
function readExtension(list: Cursor): Extension {
  const one = enter(list, tags.sequence);
  const id = readOid(one);
  const critical = readTrue(one);
  const value = read(one, tags.octetString);
  finish(one);
  return { id, critical, value };
}

/** Key identifier of an AuthorityKeyIdentifier, as certificates and CRLs carry it. @throws DER_MALFORMED */
export function authorityKeyIdentifier(value: Uint8Array): { readonly aki?: Uint8Array } {
  const fields = only(value, tags.sequence);
  return nextTag(fields) === contextPrimitive(0) ? { aki: read(fields, contextPrimitive(0)) } : {};
}

/** BOOLEAN DEFAULT FALSE: absent or TRUE. */
function readTrue(from: Cursor): boolean {
  if (nextTag(from) !== tags.boolean) return false;
  const { whole } = readAny(from);
  if (Buffer.compare(whole, boolean(true)) !== 0) malformed('default value written out');
  return true;
}

function basicConstraints(value: Uint8Array): Part {
  const fields = only(value, tags.sequence);
  const isCa = readTrue(fields);
  const pathLength = more(fields) ? readNumber(fields) : undefined;
  finish(fields);
  if (pathLength === undefined) return { isCa };
  if (!isCa) malformed('path length without CA');
  return { isCa, pathLength };
}

function keyUsage(value: Uint8Array): Part {
  const [unused = 0, ...bytes] = wholeValue(value, from => read(from, tags.bitString));
  // The last bit that is written is set (X.690 §11.2.2), and one is (RFC 5280 §4.2.1.3).
  if (((bytes.at(-1) ?? 0) & (1 << unused)) === 0) malformed('key usage of no bit, or with zero bits at its end');
  const [bits = 0] = bytes;
  return { keyUsage: { digitalSignature: (bits & 0x80) !== 0, keyCertSign: (bits & 0x04) !== 0, crlSign: (bits & 0x02) !== 0 } };
}

function extKeyUsage(value: Uint8Array): Part {
  const list = only(value, tags.sequence);
  const eku: string[] = [];
  while (more(list)) eku.push(readOid(list));
  if (eku.length === 0) malformed('empty extended key usage');
  return { eku };
}

/** A policy occurs once (§4.2.1.4); its qualifiers are ignored. */
function certificatePolicies(value: Uint8Array): Part {
  const list = only(value, tags.sequence);
  const policies: string[] = [];
  while (more(list)) {
    const policy = readOid(enter(list, tags.sequence));
    if (policies.includes(policy)) malformed(`policy ${policy} twice`);
    policies.push(policy);
  }
  if (policies.length === 0) malformed('certificate policies without one');
  return { policies };
}

function nameConstraints(value: Uint8Array): Part {
  return { nameConstraints: readNameConstraints(value) };
}

function policyConstraints(value: Uint8Array): Part {
  return { policyConstraints: readPolicyConstraints(value) };
}

function inhibitAnyPolicy(value: Uint8Array): Part {
  return { inhibitAnyPolicy: wholeValue(value, readNumber) };
}

function bundleBefore(value: Uint8Array): Part {
  return { bundleBefore: wholeValue(value, readNumber) };
}

function subjectKeyIdentifier(value: Uint8Array): Part {
  const { bytes, at, end } = only(value, tags.octetString);
  return { ski: bytes.subarray(at, end) };
}

function subjectAltName(value: Uint8Array): Part {
  const names = only(value, tags.sequence);
  if (!more(names)) malformed('empty subjectAltName');
  const dnsNames: string[] = [];
  const ipAddresses: Uint8Array[] = [];
  const altNames: AltName[] = [];
  let hardwareSerial: Uint8Array | undefined;
  while (more(names)) {
    const { tag, content } = readAny(names);
    altNames.push(altNameOf({ tag, content }));
    if (tag === contextPrimitive(generalNames.dnsName)) dnsNames.push(ascii(content));
    else if (tag === contextPrimitive(generalNames.ipAddress)) ipAddresses.push(addressBytes(content));
    else if (tag === contextConstructed(generalNames.otherName)) {
      const serial = readHardwareSerial(content);
      if (serial && hardwareSerial) malformed('two hardware names');
      hardwareSerial ??= serial;
    }
  }
  return { dnsNames, ipAddresses, altNames, ...(hardwareSerial && { hardwareSerial }) };
}

/** hwSerialNum of a HardwareModuleName, undefined for any other otherName (RFC 4108 §5). */
function readHardwareSerial(otherName: Uint8Array): Uint8Array | undefined {
  const fields = cursor(otherName);
  if (readOid(fields) !== oids.hardwareModuleName) return undefined;
  const value = enter(fields, contextConstructed(0));
  finish(fields);
  const name = enter(value, tags.sequence);
  finish(value);
  readOid(name);
  const serial = read(name, tags.octetString);
  finish(name);
  return serial;
}

/** First http address of the first distribution point that has one. */
function crlDistributionPoints(value: Uint8Array): Part {
  const points = only(value, tags.sequence);
  while (more(points)) {
    const point = enter(points, tags.sequence);
    if (nextTag(point) !== contextConstructed(0)) continue;
    const name = enter(point, contextConstructed(0));
    if (nextTag(name) !== contextConstructed(0)) continue;
    const url = firstUri(enter(name, contextConstructed(0)));
    if (url !== undefined) return { crlUrl: url };
  }
  return {};
}

function authorityInfoAccess(value: Uint8Array): Part {
  const descriptions = only(value, tags.sequence);
  while (more(descriptions)) {
    const description = enter(descriptions, tags.sequence);
    if (readOid(description) !== oids.ocsp) continue;
    const ocspUrl = firstUri(description);
    if (ocspUrl !== undefined) return { ocspUrl };
  }
  return {};
}

function firstUri(names: Cursor): string | undefined {
  while (more(names)) {
    const { tag, content } = readAny(names);
    const url = tag === contextPrimitive(generalNames.uri) ? ascii(content) : '';
    if (url.startsWith('http://')) return url;
  }
  return undefined;
}

function ascii(content: Uint8Array): string {
  if (content.some(byte => byte < 0x21 || byte > 0x7e)) malformed('name with characters outside ASCII');
  return Buffer.from(content).toString('latin1');
}

function addressBytes(content: Uint8Array): Uint8Array {
  if (content.length !== 4 && content.length !== 16) malformed('IP address of a wrong length');
  return content;
}
