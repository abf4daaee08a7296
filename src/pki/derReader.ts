import { headBytes, latin1, lengthAt, malformed, minimalInteger, tags, wellFormed } from './der.ts';

/** Reads DER step by step: every step checks tag, length and bounds. */

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
