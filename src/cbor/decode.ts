import { toHex } from '../bytes.ts';
import { type CborKey, type CborMap, type CborValue, defaultMaxDepth, major, malformed, simple } from './value.ts';

type Reader = {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly text: { decode(bytes: Uint8Array): string };
  /** Only the deterministic encoding, and only what CborValue has. */
  readonly isStrict: boolean;
  at: number;
};

/** Reads one deterministic CBOR item that fills the input: whatever is accepted encodes again to the same bytes (RFC 8949 §4.2.1).
 *  Work and memory are bounded by the length of the input.
 *  @param maxDepth nesting of arrays, maps and tags that is accepted
 *  @returns the value; byte strings are copies
 *  @throws NusecError CBOR_MALFORMED for longer than shortest heads, indefinite lengths, unsorted or repeated keys, keys that are neither
 *    integer nor text, floats, undefined and other simple values, invalid UTF-8, truncation, trailing bytes, too deep */
export function decodeCbor(bytes: Uint8Array, maxDepth: number = defaultMaxDepth): CborValue {
  return readAll(bytes, maxDepth, true);
}

/** Reads one CBOR item of others, which need not be deterministic (a "variation-tolerant decoder", RFC 9783 §5.1.1): longer heads and unsorted keys are
 *  accepted, and what CborValue does not have is read over: floats, undefined and other simple values become null, keys that are neither integer nor
 *  text become their encoding in hex after "0x". Repeated keys, indefinite lengths and everything malformed are refused.
 *  @throws NusecError CBOR_MALFORMED */
export function decodeForeignCbor(bytes: Uint8Array, maxDepth: number = defaultMaxDepth): CborValue {
  return readAll(bytes, maxDepth, false);
}

function readAll(bytes: Uint8Array, maxDepth: number, isStrict: boolean): CborValue {
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
  const reader: Reader = { bytes: plain, view, text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }), isStrict, at: 0 };
  const value = read(reader, maxDepth);
  if (reader.at !== plain.length) throw malformed('trailing bytes');
  return value;
}

function read(reader: Reader, depth: number): CborValue {
  const initial = readByte(reader);
  const type = initial >> 5;
  if (type === major.simple) return simpleValue(reader, initial);
  const argument = readArgument(reader, initial & 0x1f);
  if (type === major.unsigned) return argument;
  if (type === major.negative) return negative(argument);
  if (type === major.bytes) return take(reader, argument).slice();
  if (type === major.text) return readText(reader, argument);
  if (depth === 0) throw malformed('too deep');
  if (type === major.array) return readArray(reader, argument, depth - 1);
  if (type === major.map) return readMap(reader, argument, depth - 1);
  if (typeof argument === 'bigint') throw malformed('tag out of range');
  return { tag: argument, value: read(reader, depth - 1) };
}

function simpleValue(reader: Reader, initial: number): boolean | null {
  if (initial === simple.false) return false;
  if (initial === simple.true) return true;
  if (initial === simple.null) return null;
  if (reader.isStrict) throw malformed('float or simple value');
  const info = initial & 0x1f;
  if (info > 27) throw malformed('indefinite or reserved length');
  if (info >= 24) {
    const bytes = take(reader, 1 << (info - 24));
    if (info === 24 && (bytes[0] ?? 0) < leastTwoByteSimple) throw malformed('simple value');
  }
  return null;
}

/** Below it a simple value has one byte (RFC 8949 §3.3). */
const leastTwoByteSimple = 32;

function readByte(reader: Reader): number {
  const byte = reader.bytes[reader.at];
  if (byte === undefined) throw malformed('truncated');
  reader.at += 1;
  return byte;
}

/** The argument after an initial byte; 24–27 say 1, 2, 4 or 8 more bytes, and each only for what does not fit in fewer (RFC 8949 §3, §4.2.1). */
function readArgument(reader: Reader, info: number): number | bigint {
  if (info < 24) return info;
  if (info > 27) throw malformed('indefinite or reserved length');
  const size = 1 << (info - 24);
  const at = reader.at;
  if (at + size > reader.bytes.length) throw malformed('truncated');
  reader.at += size;
  if (size === 8) return readArgument64(reader.view.getBigUint64(at), reader.isStrict);
  const argument = size === 1 ? reader.view.getUint8(at) : size === 2 ? reader.view.getUint16(at) : reader.view.getUint32(at);
  if (reader.isStrict && argument < (size === 1 ? 24 : size === 2 ? 0x100 : 0x1_0000)) throw malformed('not the shortest form');
  return argument;
}

function readArgument64(argument: bigint, isStrict: boolean): number | bigint {
  if (isStrict && argument < 0x1_0000_0000n) throw malformed('not the shortest form');
  return argument <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(argument) : argument;
}

function negative(argument: number | bigint): number | bigint {
  const value = -1n - BigInt(argument);
  return value >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(value) : value;
}

function take(reader: Reader, length: number | bigint): Uint8Array {
  if (length > reader.bytes.length - reader.at) throw malformed('truncated');
  const start = reader.at;
  reader.at += Number(length);
  return reader.bytes.subarray(start, reader.at);
}

function readText(reader: Reader, length: number | bigint): string {
  const bytes = take(reader, length);
  try {
    return reader.text.decode(bytes);
  } catch {
    throw malformed('text is not UTF-8');
  }
}

function readArray(reader: Reader, count: number | bigint, depth: number): CborValue[] {
  const items: CborValue[] = [];
  for (let left = checkedCount(reader, count, 1); left > 0; left -= 1) items.push(read(reader, depth));
  return items;
}

function readMap(reader: Reader, count: number | bigint, depth: number): CborMap {
  const map = new Map<CborKey, CborValue>();
  let previous: Uint8Array | undefined;
  for (let left = checkedCount(reader, count, 2); left > 0; left -= 1) {
    const start = reader.at;
    const key = read(reader, reader.isStrict ? 0 : depth);
    const encodedKey = reader.bytes.subarray(start, reader.at);
    if (reader.isStrict && previous && Buffer.compare(previous, encodedKey) >= 0) throw malformed('map keys not sorted');
    previous = encodedKey;
    const name = keyOf(reader, key, encodedKey);
    if (!reader.isStrict && map.has(name)) throw malformed('map key twice');
    map.set(name, read(reader, depth));
  }
  return map;
}

function keyOf({ isStrict }: Reader, key: CborValue, encoded: Uint8Array): CborKey {
  if (typeof key === 'number' || typeof key === 'string') return key;
  if (isStrict) throw malformed('map key is neither integer nor text');
  return `0x${toHex(encoded)}`;
}

/** Every item takes at least one byte, so a count beyond the rest of the input is refused before anything is allocated. */
function checkedCount(reader: Reader, count: number | bigint, minItemBytes: number): number {
  if (count > (reader.bytes.length - reader.at) / minItemBytes) throw malformed('truncated');
  return Number(count);
}
