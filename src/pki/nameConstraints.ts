import { toHex } from '../bytes.ts';
import { contextConstructed, malformed, tags } from './der.ts';
import { type Cursor, type Element, enter, finish, more, nextTag, only, readAny, readOid } from './derReader.ts';
import { oids } from './oids.ts';

/** Name constraints of an authority (RFC 5280 §4.2.1.10): which names certificates below it may carry. None of our profiles writes them; they
 *  are understood so that an authority made by other software is never trusted for more than it says. */

/** A GeneralName: `form` is its tag number, `content` what is inside the tag. */
export type AltName = { readonly form: number; readonly content: Uint8Array };
export type NameConstraints = { readonly permitted: readonly AltName[]; readonly excluded: readonly AltName[] };

/** Forms of GeneralName that constraints are understood for (RFC 5280 §4.2.1.6). */
const forms = { email: 1, dns: 2, directory: 4, ip: 7 } as const;
/** Of one extension: more are refused, as each is held against each name. */
const maxSubtrees = 64;
const tagNumber = 0x1f;

export const altNameOf = ({ tag, content }: Pick<Element, 'tag' | 'content'>): AltName => ({ form: tag & tagNumber, content });

/** @throws DER_MALFORMED also for a base that is no name of its form, and for minimum and maximum, which are not used */
export function readNameConstraints(value: Uint8Array): NameConstraints {
  const fields = only(value, tags.sequence);
  const permitted = nextTag(fields) === contextConstructed(0) ? subtreesIn(enter(fields, contextConstructed(0))) : [];
  const excluded = nextTag(fields) === contextConstructed(1) ? subtreesIn(enter(fields, contextConstructed(1))) : [];
  finish(fields);
  if (permitted.length + excluded.length === 0) malformed('name constraints without one');
  if (permitted.length + excluded.length > maxSubtrees) malformed('too many name constraints');
  return { permitted, excluded };
}

function subtreesIn(list: Cursor): readonly AltName[] {
  const found: AltName[] = [];
  while (more(list)) {
    const subtree = enter(list, tags.sequence);
    const base = altNameOf(readAny(subtree));
    finish(subtree);
    checkBase(base);
    found.push(base);
  }
  if (found.length === 0) malformed('name constraints: empty list');
  return found;
}

function checkBase({ form, content }: AltName): void {
  if (form === forms.dns && !isDnsBase(textOf(content))) malformed('name constraint: not a DNS name');
  if (form === forms.email && !/^([^@\s]+@)?\.?[^@\s]+$/.test(textOf(content))) malformed('name constraint: not a mailbox or host');
  if (form === forms.ip && !isAddressAndMask(content)) malformed('name constraint: not an address with its mask');
  if (form === forms.directory) rdnsOf(content);
}

const isDnsBase = (text: string): boolean => text === '' || /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(text);
/** The first label may be a wildcard, which no reader of ours takes for a name. */
const isDnsName = (text: string): boolean => text !== '' && isDnsBase(text.replace(/^\*\./, ''));

/** Why these constraints refuse a certificate. @returns undefined when they do not */
export function nameRefusal(
  { permitted, excluded }: NameConstraints,
  { subjectDer, altNames }: { readonly subjectDer: Uint8Array; readonly altNames: readonly AltName[] },
): string | undefined {
  for (const name of namesOf(subjectDer, altNames)) {
    const bases = permitted.filter(({ form }) => form === name.form);
    const barred = excluded.filter(({ form }) => form === name.form);
    if (bases.length + barred.length === 0) continue;
    const within = matchers.get(name.form);
    if (!isWellFormed(name)) return 'has a name of a form that its issuer constrains, and it is no such name';
    if (within === undefined) return 'has a name of a form whose constraints are not understood';
    if (barred.some(base => within(name.content, base.content, true))) return 'has a name that its issuer excludes';
    if (bases.length > 0 && !bases.some(base => within(name.content, base.content, false)))
      return 'has a name that its issuer does not permit';
  }
  return undefined;
}

/** @returns false for what a careless reader could take for another name than we do */
function isWellFormed({ form, content }: AltName): boolean {
  if (form === forms.dns) return isDnsName(textOf(content));
  return form !== forms.email || /^[!-?A-~]+@[!-?A-~]+$/.test(textOf(content));
}

/** The subject counts as a directory name when it is not empty, and mail addresses in it as such. */
function namesOf(subjectDer: Uint8Array, altNames: readonly AltName[]): readonly AltName[] {
  const rdns = rdnsOf(subjectDer);
  const mail = rdns.flat().filter(({ type }) => type === oids.emailAddress);
  return [
    ...altNames,
    ...(rdns.length > 0 ? [{ form: forms.directory, content: subjectDer }] : []),
    ...mail.map(({ raw }) => ({ form: forms.email, content: raw })),
  ];
}

/** @param isExclusion then a wildcard that may match an excluded name is within too */
type Within = (name: Uint8Array, base: Uint8Array, isExclusion: boolean) => boolean;
const matchers: ReadonlyMap<number, Within> = new Map<number, Within>([
  [forms.dns, (name, base, isExclusion) => isDnsWithin(lowerOf(name), lowerOf(base), isExclusion)],
  [forms.email, (name, base) => isMailWithin(textOf(name), textOf(base))],
  [forms.ip, isAddressWithin],
  [forms.directory, isDirectoryWithin],
]);

function isDnsWithin(name: string, base: string, isExclusion: boolean): boolean {
  if (base === '' || name === base || name.endsWith(`.${base}`)) return true;
  return isExclusion && name.startsWith('*.') && `.${base}`.endsWith(name.slice(1));
}

/** A mailbox is itself, a host all mailboxes on it, `.domain` all on hosts below it. The local part is compared as it is written. */
function isMailWithin(name: string, base: string): boolean {
  const [, local, host] = /^(.+)@([^@]+)$/.exec(name) ?? [];
  if (local === undefined || host === undefined) return false;
  const at = base.lastIndexOf('@');
  const baseHost = base.slice(at + 1).toLowerCase();
  if (at >= 0) return local === base.slice(0, at) && host.toLowerCase() === baseHost;
  return baseHost.startsWith('.') ? host.toLowerCase().endsWith(baseHost) : host.toLowerCase() === baseHost;
}

function isAddressWithin(address: Uint8Array, base: Uint8Array): boolean {
  if (base.length !== 2 * address.length) return false;
  return address.every((byte, index) => ((byte ^ (base[index] ?? 0)) & (base[address.length + index] ?? 0)) === 0);
}

function isAddressAndMask(base: Uint8Array): boolean {
  if (base.length !== 8 && base.length !== 32) return false;
  const mask = [...base.subarray(base.length / 2)].map(byte => byte.toString(2).padStart(8, '0')).join('');
  return /^1*0*$/.test(mask);
}

function isDirectoryWithin(name: Uint8Array, base: Uint8Array): boolean {
  const [of, under] = [rdnsOf(name), rdnsOf(base)];
  return under.every((rdn, index) => keyOf(rdn) === keyOf(of[index] ?? []));
}

type Attribute = { readonly type: string; readonly raw: Uint8Array; readonly value: string };
const keyOf = (rdn: readonly Attribute[]): string =>
  rdn
    .map(({ type, value }) => `${type}=${value}`)
    .sort()
    .join('+');

const texts: readonly number[] = [tags.utf8String, tags.printableString, tags.ia5String];

/** Attributes of a Name, comparable: case, runs of spaces and the string type make no difference (RFC 5280 §7.1). */
function rdnsOf(name: Uint8Array): readonly (readonly Attribute[])[] {
  const list = only(name, tags.sequence);
  const rdns: Attribute[][] = [];
  while (more(list)) {
    const rdn = enter(list, tags.set);
    const attributes: Attribute[] = [];
    while (more(rdn)) attributes.push(readAttribute(enter(rdn, tags.sequence)));
    rdns.push(attributes);
  }
  return rdns;
}

function readAttribute(from: Cursor): Attribute {
  const type = readOid(from);
  const { tag, content } = readAny(from);
  finish(from);
  const folded = Buffer.from(content).toString('utf8').normalize('NFKC').toLowerCase().trim().replace(/\s+/g, ' ');
  return { type, raw: content, value: texts.includes(tag) ? folded : `#${tag} ${toHex(content)}` };
}

const textOf = (content: Uint8Array): string => Buffer.from(content).toString('latin1');
const lowerOf = (content: Uint8Array): string => textOf(content).toLowerCase();
