import { isUtf8 } from 'node:buffer';
import { type ErrorCode, NusecError } from '../errors.ts';

/** DER, the one encoding of X.509 (ITU-T X.690 §8 and §10): tags, heads of elements, the only form of each content, and the whole-tree check
 *  `checkDer`. Own code because issuing is a hot path; strict because everything read here comes from outside (T27).
 *  `derWriter.ts` writes, `derReader.ts` reads step by step. */

/** Deepest nesting that is read; a certificate needs 9. */
export const maxNestingLevels = 16;

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

/** One DER element and nothing behind it: minimal definite lengths, known types in their only form, well-formed contents,
 *  SETs in order, at most 16 levels. The content of an OCTET STRING or BIT STRING is checked by its reader.
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
  else if (tag < 0x80 && tag !== tags.octetString && !wellFormed(tag, bytes, start, end)) malformed(`content of tag 0x${tag.toString(16)}`);
  return end;
}

function checkChildren(bytes: Uint8Array, tag: number, start: number, end: number, level: number): void {
  if (tag < 0x80 && tag !== tags.sequence && tag !== tags.set) malformed('constructed string');
  let previous = start;
  for (let at = start; at < end; ) {
    const next = checkElement(bytes, at, end, level + 1);
    if (tag === tags.set && at > start) {
      if (Buffer.compare(bytes.subarray(previous, at), bytes.subarray(at, next)) > 0) malformed('set out of order');
      previous = at;
    }
    at = next;
  }
}

/** PrintableString (X.680 §41.4). */
export const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/;
const isPrintable: readonly boolean[] = Array.from({ length: 256 }, (_, code) => printable.test(String.fromCharCode(code)));

/** Whether these are the contents of this primitive type, in the only form DER allows. Looks at the bytes where they are: this is asked of every
 *  element of every certificate. @param start of the contents in `bytes` @param end behind them */
export function wellFormed(tag: number, bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  switch (tag) {
    case tags.boolean:
      return end - start === 1 && (bytes[start] === 0 || bytes[start] === 0xff);
    case tags.integer:
    case tags.enumerated:
      return minimalInteger(bytes, start, end);
    case tags.bitString:
      return wellFormedBits(bytes, start, end);
    case tags.octetString:
      return true;
    case tags.null:
      return start === end;
    case tags.oid:
      return wellFormedOid(bytes, start, end);
    case tags.utf8String:
      return isAscii(bytes, start, end) || isUtf8(bytes.subarray(start, end));
    case tags.printableString:
      return isPrintableString(bytes, start, end);
    case tags.ia5String:
      return isAscii(bytes, start, end);
    case tags.utcTime:
      return isTime(bytes, start, end, 12);
    case tags.generalizedTime:
      return isTime(bytes, start, end, 14);
    default:
      return false;
  }
}

/** Whether these are the contents of an INTEGER without needless bytes (X.690 §8.3.2). */
export function minimalInteger(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  if (end - start < 2) return end > start;
  const [first, second] = [bytes[start] as number, bytes[start + 1] as number];
  return !((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
}

/** Unused bits at most 7, none without a byte, and zero (X.690 §11.2). */
function wellFormedBits(bytes: Uint8Array, start: number, end: number): boolean {
  const unused = bytes[start] as number;
  if (start === end || unused > 7) return false;
  if (end - start === 1) return unused === 0;
  return ((bytes[end - 1] as number) & ((1 << unused) - 1)) === 0;
}

/** Complete components, none with leading zero bits (X.690 §8.19.2), each below 2^35. */
function wellFormedOid(bytes: Uint8Array, start: number, end: number): boolean {
  let length = 0;
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number;
    if ((length === 0 && byte === 0x80) || length >= 5) return false;
    length = byte < 0x80 ? 0 : length + 1;
  }
  return end > start && length === 0;
}

function isAscii(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) if ((bytes[at] as number) >= 0x80) return false;
  return true;
}

function isPrintableString(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) if (!isPrintable[bytes[at] as number]) return false;
  return true;
}

/** So many digits and a Z. */
function isTime(bytes: Uint8Array, start: number, end: number, digits: number): boolean {
  if (end - start !== digits + 1 || bytes[end - 1] !== 0x5a) return false;
  for (let at = start; at < end - 1; at += 1) if ((bytes[at] as number) < 0x30 || (bytes[at] as number) > 0x39) return false;
  return true;
}

export const latin1 = (content: Uint8Array): string => Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1');

/** Bytes of tag and minimal length. @param length of the content */
export function headBytes(length: number): number {
  if (length < 0x80) return 2;
  if (length < 0x100) return 3;
  if (length < 0x10000) return 4;
  return length < 0x1000000 ? 5 : 6;
}

/** Content length of the element at `at`. @throws DER_MALFORMED */
export function lengthAt(bytes: Uint8Array, at: number, limit: number): number {
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
