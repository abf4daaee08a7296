import { isUtf8 } from 'node:buffer';
import { type ErrorCode, NusecError } from '../errors.ts';
import { remembered } from './remembered.ts';

/** DER, the one encoding of X.509 (ITU-T X.690 §8 and §10): writer, cursor reader and the whole-tree check `checkDer`.
 *  Own code because issuing is a hot path; strict because everything read here comes from outside (T27). */

/** Deepest nesting that is read; a certificate needs 9. */
export const maxNestingLevels = 16;
/** Times that are encoded once: one notBefore serves a second of issuing, one notAfter an authority. */
const maxKnownTimes = 256;

/** X.680 §8.6 universal tags, with the constructed bit where DER demands it. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

export const contextPrimitive = (number: number): number => 0x80 | number;
export const contextConstructed = (number: number): number => 0xa0 | number;

/** Stops with DER_MALFORMED. */
export function malformed(detail: string): never {
  throw new NusecError('DER_MALFORMED', detail);
}

/** Runs `work`; what it refuses as DER_MALFORMED is refused with this code instead. */
export function derErrorAs<T>(code: ErrorCode, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof NusecError && error.code === 'DER_MALFORMED') throw new NusecError(code, error.message);
    throw error;
  }
}

// ── Writer ──

/** Up to here a loop copies faster than a call. */
const loopBytes = 32;
/** From here on memory is not cleared before every byte of it is written: a revocation list has megabytes, several times. */
const uninitialisedBytes = 64 * 1024;

export function tlv(tag: number, parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const head = headBytes(length);
  const out = length > uninitialisedBytes ? new Uint8Array(Buffer.allocUnsafeSlow(head + length).buffer) : new Uint8Array(head + length);
  out[0] = tag;
  if (head === 2) out[1] = length;
  else writeLongLength(out, length, head - 2);
  let at = head;
  for (const part of parts) {
    if (part.length > loopBytes) out.set(part, at);
    else for (let i = 0; i < part.length; i += 1) out[at + i] = part[i] as number;
    at += part.length;
  }
  return out;
}

export const sequence = (...parts: readonly Uint8Array[]): Uint8Array => tlv(tags.sequence, parts);
export const octetString = (content: Uint8Array): Uint8Array => tlv(tags.octetString, [content]);
export const boolean = (value: boolean): Uint8Array => Uint8Array.of(tags.boolean, 1, value ? 0xff : 0);
export const context = (number: number, ...parts: readonly Uint8Array[]): Uint8Array => tlv(contextConstructed(number), parts);

/** SET OF: elements in ascending order of their encodings (X.690 §11.6). */
export const setOf = (...elements: readonly Uint8Array[]): Uint8Array =>
  tlv(tags.set, elements.length === 1 ? elements : elements.toSorted(Buffer.compare));

/** @param magnitude unsigned, big endian, any number of leading zeros */
export function integer(magnitude: Uint8Array): Uint8Array {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start += 1;
  const bytes = magnitude.length === 0 ? Uint8Array.of(0) : magnitude.subarray(start);
  return tlv(tags.integer, (bytes[0] ?? 0) >= 0x80 ? [Uint8Array.of(0), bytes] : [bytes]);
}

/** @param value 0 … 2^53 − 1 */
export function integerOf(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return integer(bytes);
}

/** BIT STRING of whole bytes. */
export const bitString = (content: Uint8Array): Uint8Array => tlv(tags.bitString, [Uint8Array.of(0), content]);

/** @param dotted such as `2.5.29.15`; components below 2^31 */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return tlv(tags.oid, [Uint8Array.from([first * 40 + second, ...rest].flatMap(base128))]);
}

/** A PrintableString or UTF8String. @throws DER_MALFORMED when a character does not belong to it */
export function text(tag: number, value: string): Uint8Array {
  const fits = tag === tags.printableString ? printable.test(value) : tag === tags.utf8String && value.isWellFormed();
  if (!fits) malformed('character outside the string type');
  return tlv(tag, [Buffer.from(value, 'utf8')]);
}

/** UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5). @param iso UTC, whole seconds count */
export const time = remembered(maxKnownTimes, iso => {
  const digits = iso.replace(/[-:T]|\.\d+/g, '');
  if (!/^\d{14}Z$/.test(digits)) malformed('not a UTC time');
  const utc = digits >= '1950' && digits < '2050';
  return utc ? tlv(tags.utcTime, [Buffer.from(digits.slice(2), 'latin1')]) : tlv(tags.generalizedTime, [Buffer.from(digits, 'latin1')]);
});

/** GeneralizedTime whatever the year, as OCSP wants it (RFC 6960 §4.2.2.1). @param iso UTC, whole seconds count */
export const generalizedTime = remembered(maxKnownTimes, iso => {
  const digits = iso.replace(/[-:T]|\.\d+/g, '');
  if (!/^\d{14}Z$/.test(digits)) malformed('not a UTC time');
  return tlv(tags.generalizedTime, [Buffer.from(digits, 'latin1')]);
});

// ── Cursor reader: every step checks tag, length and bounds ──

export type Cursor = { readonly bytes: Uint8Array; at: number; readonly end: number };
/** `whole` includes tag and length. Both are views on the input. */
export type Element = { readonly tag: number; readonly content: Uint8Array; readonly whole: Uint8Array };

export const cursor = (bytes: Uint8Array): Cursor => ({ bytes, at: 0, end: bytes.length });
export const more = (from: Cursor): boolean => from.at < from.end;
export const nextTag = (from: Cursor): number | undefined => (more(from) ? from.bytes[from.at] : undefined);

/** Next element of any type. @throws DER_MALFORMED */
export function readAny(from: Cursor): Element {
  const { bytes, at } = from;
  const start = step(from);
  return { tag: bytes[at] ?? 0, content: bytes.subarray(start, from.at), whole: bytes.subarray(at, from.at) };
}

/** Steps over the next element. @returns where its content starts */
function step(from: Cursor): number {
  const length = lengthAt(from.bytes, from.at, from.end);
  const start = from.at + headBytes(length);
  from.at = start + length;
  return start;
}

/** Content of the next element, which must have this tag. @throws DER_MALFORMED */
export function read(from: Cursor, tag: number): Uint8Array {
  if (nextTag(from) !== tag) malformed(`expected tag 0x${tag.toString(16)}`);
  const start = step(from);
  return from.bytes.subarray(start, from.at);
}

/** Steps into the next element, which must have this tag. @throws DER_MALFORMED */
export function enter(from: Cursor, tag: number): Cursor {
  if (nextTag(from) !== tag) malformed(`expected tag 0x${tag.toString(16)}`);
  const start = step(from);
  return { bytes: from.bytes, at: start, end: from.at };
}

/** @throws DER_MALFORMED when anything is left */
export function finish(from: Cursor): void {
  if (more(from)) malformed('trailing bytes');
}

/** The one element that fills the whole input. @throws DER_MALFORMED */
export function only(bytes: Uint8Array, tag: number): Cursor {
  const outer = cursor(bytes);
  const inner = enter(outer, tag);
  finish(outer);
  return inner;
}

/** Magnitude of a non-negative INTEGER, without sign byte. @throws DER_MALFORMED */
export function readUnsigned(from: Cursor): Uint8Array {
  const content = read(from, tags.integer);
  if (!minimalInteger(content) || (content[0] ?? 0) >= 0x80) malformed('integer negative or not minimal');
  return content[0] === 0 && content.length > 1 ? content.subarray(1) : content;
}

/** Non-negative INTEGER up to 2^48 − 1. @throws DER_MALFORMED */
export function readNumber(from: Cursor): number {
  const magnitude = readUnsigned(from);
  if (magnitude.length > 6) malformed('integer too large');
  return Buffer.from(magnitude).readUIntBE(0, magnitude.length);
}

/** BIT STRING of whole bytes. @throws DER_MALFORMED */
export function readBits(from: Cursor): Uint8Array {
  const content = read(from, tags.bitString);
  if (content[0] !== 0) malformed('bit string of broken bytes');
  return content.subarray(1);
}

/** @returns dotted form */
export function readOid(from: Cursor): string {
  const content = read(from, tags.oid);
  if (!wellFormed(tags.oid, content)) malformed('object identifier');
  let text = '';
  let value = 0;
  for (const byte of content) {
    value = value * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    const root = Math.min(2, Math.floor(value / 40));
    text = text === '' ? `${root}.${value - root * 40}` : `${text}.${value}`;
    value = 0;
  }
  return text;
}

/** UTCTime or GeneralizedTime, each in its years (RFC 5280 §4.1.2.5). @returns ISO, `2026-01-31T12:00:00.000Z` @throws DER_MALFORMED */
export function readTime(from: Cursor): string {
  const { tag, content } = readAny(from);
  if ((tag !== tags.utcTime && tag !== tags.generalizedTime) || !wellFormed(tag, content)) malformed('time');
  const raw = latin1(content);
  const digits = tag === tags.generalizedTime ? raw : `${raw < '50' ? '20' : '19'}${raw}`;
  if (tag === tags.generalizedTime && digits >= '1950' && digits < '2050') malformed('GeneralizedTime before 2050');
  if (!isTime(digits)) malformed('no such time');
  const [month, day, hour, minute, second] = [4, 6, 8, 10, 12].map(at => digits.slice(at, at + 2));
  return `${digits.slice(0, 4)}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
}

const daysInMonth = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

/** @param digits YYYYMMDDhhmmss, nothing but digits so far */
function isTime(digits: string): boolean {
  const [year, month, day, hour, minute, second] = [0, 4, 6, 8, 10, 12].map(at => Number(digits.slice(at, at === 0 ? 4 : at + 2)));
  const leap = month === 2 && year! % 4 === 0 && (year! % 100 !== 0 || year! % 400 === 0) ? 1 : 0;
  const days = (daysInMonth[month! - 1] ?? 0) + leap;
  return day! >= 1 && day! <= days && hour! < 24 && minute! < 60 && second! < 60;
}

// ── Whole-tree check ──

/** One DER element and nothing behind it: minimal definite lengths, known types in their only form, well-formed contents,
 *  SETs in order, at most 16 levels. What is inside an OCTET STRING or BIT STRING is checked by whoever reads it.
 *  @throws DER_MALFORMED */
export function checkDer(der: Uint8Array): void {
  if (der.length === 0) malformed('empty');
  const end = checkElement(der, 0, der.length, 1);
  if (end !== der.length) malformed('trailing bytes');
}

function checkElement(bytes: Uint8Array, at: number, limit: number, level: number): number {
  if (level > maxNestingLevels) malformed('nested too deeply');
  const tag = bytes[at] ?? 0;
  const length = lengthAt(bytes, at, limit);
  const start = at + headBytes(length);
  const end = start + length;
  if ((tag & 0x1f) === 0x1f || (tag & 0xc0) === 0x40 || (tag & 0xc0) === 0xc0) malformed('tag class or form');
  if (tag & 0x20) checkChildren(bytes, tag, start, end, level);
  else if (tag < 0x80 && tag !== tags.octetString && !wellFormed(tag, bytes.subarray(start, end)))
    malformed(`content of tag 0x${tag.toString(16)}`);
  return end;
}

function checkChildren(bytes: Uint8Array, tag: number, start: number, end: number, level: number): void {
  if (tag < 0x80 && tag !== tags.sequence && tag !== tags.set) malformed('constructed string');
  let previous: Uint8Array | undefined;
  for (let at = start; at < end; ) {
    const next = checkElement(bytes, at, end, level + 1);
    if (tag === tags.set) {
      const element = bytes.subarray(at, next);
      if (previous && Buffer.compare(previous, element) > 0) malformed('set out of order');
      previous = element;
    }
    at = next;
  }
}

const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/;

/** Whether these are the contents of this primitive type, in the only form DER allows. */
export function wellFormed(tag: number, content: Uint8Array): boolean {
  switch (tag) {
    case tags.boolean:
      return content.length === 1 && (content[0] === 0 || content[0] === 0xff);
    case tags.integer:
    case tags.enumerated:
      return minimalInteger(content);
    case tags.bitString:
      return wellFormedBits(content);
    case tags.octetString:
      return true;
    case tags.null:
      return content.length === 0;
    case tags.oid:
      return wellFormedOid(content);
    case tags.utf8String:
      return isUtf8(content);
    case tags.printableString:
      return printable.test(latin1(content));
    case tags.ia5String:
      return content.every(byte => byte < 0x80);
    case tags.utcTime:
      return /^\d{12}Z$/.test(latin1(content));
    case tags.generalizedTime:
      return /^\d{14}Z$/.test(latin1(content));
    default:
      return false;
  }
}

function minimalInteger(content: Uint8Array): boolean {
  const [first, second = 0] = content;
  if (first === undefined) return false;
  return content.length === 1 || !((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
}

/** Unused bits at most 7, none without a byte, and zero (X.690 §11.2). */
function wellFormedBits(content: Uint8Array): boolean {
  const unused = content[0];
  if (unused === undefined || unused > 7) return false;
  if (content.length === 1) return unused === 0;
  return ((content[content.length - 1] ?? 0) & ((1 << unused) - 1)) === 0;
}

/** Complete components, none with leading zero bits (X.690 §8.19.2), each below 2^35. */
function wellFormedOid(content: Uint8Array): boolean {
  let length = 0;
  for (const byte of content) {
    if ((length === 0 && byte === 0x80) || length >= 5) return false;
    length = byte < 0x80 ? 0 : length + 1;
  }
  return content.length > 0 && length === 0;
}

export const latin1 = (content: Uint8Array): string => Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1');

/** Bytes of tag and minimal length. */
function headBytes(length: number): number {
  if (length < 0x80) return 2;
  if (length < 0x100) return 3;
  if (length < 0x10000) return 4;
  return length < 0x1000000 ? 5 : 6;
}

function writeLongLength(out: Uint8Array, length: number, lengthBytes: number): void {
  out[1] = 0x80 | lengthBytes;
  for (let i = 0; i < lengthBytes; i += 1) out[2 + i] = (length / 2 ** (8 * (lengthBytes - 1 - i))) & 0xff;
}

/** Content length of the element at `at`. @throws DER_MALFORMED */
function lengthAt(bytes: Uint8Array, at: number, limit: number): number {
  const first = bytes[at + 1];
  if (first === undefined || at + 2 > limit) malformed('truncated');
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80) malformed('indefinite length');
  if (lengthBytes > 4) malformed('length of more than 4 bytes');
  if (at + 2 + lengthBytes > limit) malformed('truncated');
  let length = lengthBytes === 0 ? first : 0;
  for (let i = 0; i < lengthBytes; i += 1) length = length * 256 + (bytes[at + 2 + i] ?? 0);
  if (headBytes(length) !== 2 + lengthBytes) malformed('length not minimal');
  if (at + 2 + lengthBytes + length > limit) malformed('truncated');
  return length;
}

function base128(value: number): number[] {
  const out = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) out.unshift(0x80 | (rest % 128));
  return out;
}
