import { NusecError } from '../errors.ts';
import { latin1, malformed, tags, wellFormed } from './der.ts';
import { type Cursor, cursor, type Element, enter, finish, more, readAny, readOid } from './derReader.ts';
import { oid, sequence, setOf, text } from './derWriter.ts';
import { oids } from './oids.ts';
import { remembered } from './remembered.ts';

/** Distinguished names (RFC 5280 §4.1.2.4, appendix A.1): one attribute per RDN, the five attributes the profiles use. */

export type NameFields = {
  readonly country?: string;
  readonly organization?: string;
  readonly organizationalUnit?: string;
  readonly commonName?: string;
  readonly serialNumber?: string;
};

/** ub-common-name, ub-organization-name, ub-organizational-unit-name, ub-serial-number (RFC 5280 appendix A.1), in characters. */
const maxAttributeCharacters = 64;
const maxAttributes = 16;

/** In the order in which they are written. RFC 5280: serialNumber and country are PrintableString only. */
const attributes = [
  { field: 'country', type: oids.country, tag: tags.printableString },
  { field: 'organization', type: oids.organization, tag: tags.utf8String },
  { field: 'organizationalUnit', type: oids.organizationalUnit, tag: tags.utf8String },
  { field: 'commonName', type: oids.commonName, tag: tags.utf8String },
  { field: 'serialNumber', type: oids.serialNumber, tag: tags.printableString },
] as const;
const encodedTypes = attributes.map(attribute => oid(attribute.type));
const byType = new Map(attributes.map((attribute, index) => [latin1((encodedTypes[index] as Uint8Array).subarray(2)), attribute]));
/** Organizations and units are few: encoded once. */
const maxKnownOrganizations = 64;
const organizationRdn = remembered(maxKnownOrganizations, value => encodeRdn(1, value));
const unitRdn = remembered(maxKnownOrganizations, value => encodeRdn(2, value));

/** @returns Name DER @throws BAD_REQUEST when a value is empty, longer than 64 characters or has control characters */
export function encodeName(fields: NameFields): Uint8Array {
  const rdns: Uint8Array[] = [];
  if (fields.country !== undefined) rdns.push(encodeRdn(0, fields.country));
  if (fields.organization !== undefined) rdns.push(organizationRdn(fields.organization));
  if (fields.organizationalUnit !== undefined) rdns.push(unitRdn(fields.organizationalUnit));
  if (fields.commonName !== undefined) rdns.push(encodeRdn(3, fields.commonName));
  if (fields.serialNumber !== undefined) rdns.push(encodeRdn(4, fields.serialNumber));
  return sequence(...rdns);
}

function encodeRdn(index: 0 | 1 | 2 | 3 | 4, value: string): Uint8Array {
  const { field, tag } = attributes[index];
  checkValue(field, value);
  return setOf(sequence(encodedTypes[index] as Uint8Array, text(tag, value)));
}

/** @param from cursor in front of a Name
 *  @returns the known fields, and the types of the attributes that are not among them
 *  @throws DER_MALFORMED also for a repeated attribute, a multi-valued RDN and string types outside RFC 5280 */
export function readName(from: Cursor): { readonly fields: NameFields; readonly unknown: readonly string[] } {
  const rdns = enter(from, tags.sequence);
  const fields: Record<string, string> = {};
  const unknown: string[] = [];
  for (let count = 0; more(rdns); count += 1) {
    if (count >= maxAttributes) malformed('name of too many attributes');
    const { type, tag, content } = readRdn(rdns);
    const known = byType.get(latin1(type.content));
    if (!known) unknown.push(readOid(cursor(type.whole)));
    else if (known.field in fields) malformed(`${known.field} twice`);
    else if (tag !== tags.printableString && tag !== known.tag) malformed(`string type of ${known.field}`);
    else fields[known.field] = attributeText(tag, content);
  }
  return { fields, unknown };
}

/** Text for people: `CN=…, serialNumber=…`, control characters escaped. */
export function describeName(fields: NameFields): string {
  const label = { country: 'C', organization: 'O', organizationalUnit: 'OU', commonName: 'CN', serialNumber: 'serialNumber' };
  const parts = attributes.flatMap(({ field }) => (fields[field] === undefined ? [] : [`${label[field]}=${fields[field]}`]));
  return parts.length > 0 ? JSON.stringify(parts.join(', ')).slice(1, -1) : 'no name';
}

function readRdn(rdns: Cursor): { type: Element; tag: number; content: Uint8Array } {
  const rdn = enter(rdns, tags.set);
  const attribute = enter(rdn, tags.sequence);
  const type = readAny(attribute);
  if (type.tag !== tags.oid) malformed('attribute without a type');
  const { tag, content } = readAny(attribute);
  finish(attribute);
  finish(rdn);
  return { type, tag, content };
}

function attributeText(tag: number, content: Uint8Array): string {
  if (!wellFormed(tag, content)) malformed('character outside the string type');
  const value = Buffer.from(content.buffer, content.byteOffset, content.length).toString('utf8');
  if (value.length === 0 || value.length > maxAttributeCharacters) malformed('length of a name attribute');
  return value;
}

function checkValue(field: string, value: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (value.length === 0 || value.length > maxAttributeCharacters || /[\u0000-\u001f\u007f]/.test(value)) {
    throw new NusecError('BAD_REQUEST', `${field} is empty, too long or has control characters`);
  }
}
