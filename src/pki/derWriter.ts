import { unwritten } from '../bytes.ts';
import { contextConstructed, headBytes, malformed, printable, tags } from './der.ts';
import { remembered } from './remembered.ts';

/** Writes DER (ITU-T X.690 §8 and §10). Byte strings in, byte strings out. */

/** Times that are encoded once: one notBefore serves a second of issuing, one notAfter an authority. */
const maxKnownTimes = 256;
/** Up to here a loop copies faster than a call. */
const loopBytes = 32;

/** Tag and length of an element with so many bytes. */
export function headOf(tag: number, length: number): Uint8Array {
  const out = new Uint8Array(headBytes(length));
  writeHead(out, tag, length);
  return out;
}

function writeHead(out: Uint8Array, tag: number, length: number): number {
  const head = headBytes(length);
  out[0] = tag;
  if (head === 2) out[1] = length;
  else writeLongLength(out, length, head - 2);
  return head;
}

export function tlv(tag: number, parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = unwritten(headBytes(length) + length);
  let at = writeHead(out, tag, length);
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

function writeLongLength(out: Uint8Array, length: number, lengthBytes: number): void {
  out[1] = 0x80 | lengthBytes;
  for (let i = 0; i < lengthBytes; i += 1) out[2 + i] = (length / 2 ** (8 * (lengthBytes - 1 - i))) & 0xff;
}

function base128(value: number): number[] {
  const out = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) out.unshift(0x80 | (rest % 128));
  return out;
}
