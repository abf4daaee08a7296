import { unwritten } from '../bytes.ts';
import {
  type CborKey,
  type CborMap,
  type CborTag,
  type CborValue,
  defaultMaxDepth,
  isArray,
  isMap,
  major,
  malformed,
  simple,
} from './value.ts';

/** `parts`: what comes before `bytes`, where a message is written in parts. */
type Sink = { bytes: Uint8Array; length: number; parts: Uint8Array[] | undefined };

/** Bytes that are kept for the next message. */
const keptBytes = 4096;
const textEncoder = new TextEncoder();

/** Deterministic CBOR (RFC 8949 §4.2.1): shortest heads, definite lengths, map keys in the bytewise order of their encodings.
 *  @throws NusecError CBOR_MALFORMED for what has no such encoding here: fractions, integers beyond 64 bits, lone surrogates, too deep */
export function encodeCbor(value: CborValue, maxDepth: number = defaultMaxDepth): Uint8Array {
  try {
    write(sink, value, maxDepth);
    const isOwn = sink.bytes.length > keptBytes && sink.length === sink.bytes.length;
    return isOwn ? sink.bytes : sink.bytes.slice(0, sink.length);
  } finally {
    empty(sink);
  }
}

/** The same as parts, one after the other: a long byte string is the caller's own, not a copy. @throws as encodeCbor */
export function encodeParts(value: CborValue, maxDepth: number = defaultMaxDepth): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  sink.parts = parts;
  try {
    write(sink, value, maxDepth);
    closePart(sink, parts);
    return parts;
  } finally {
    empty(sink);
  }
}

function closePart(sink: Sink, parts: Uint8Array[]): void {
  if (sink.length > 0) parts.push(sink.bytes.slice(0, sink.length));
  sink.length = 0;
}

/** One for all messages, one after the other: the memory of each costs more than the writing. */
const kept = new Uint8Array(keptBytes);
const sink: Sink = { bytes: kept, length: 0, parts: undefined };

/** A message may have been secret. */
function empty(used: Sink): void {
  // What was written in parts, or grew beyond it, may have filled all of it.
  kept.fill(0, 0, used.bytes === kept && used.parts === undefined ? used.length : keptBytes);
  used.bytes = kept;
  used.parts = undefined;
  used.length = 0;
}

function write(sink: Sink, value: CborValue, depth: number): void {
  if (typeof value === 'number' || typeof value === 'bigint') writeInteger(sink, value);
  else if (typeof value === 'string') writeText(sink, value);
  else if (typeof value === 'boolean') writeByte(sink, value ? simple.true : simple.false);
  else if (value === null) writeByte(sink, simple.null);
  else if (value instanceof Uint8Array) writeBytes(sink, major.bytes, value);
  else writeContainer(sink, value, depth);
}

function writeContainer(sink: Sink, value: readonly CborValue[] | CborMap | CborTag, depth: number): void {
  if (typeof value !== 'object') throw malformed('value has no CBOR form');
  if (depth === 0) throw malformed('too deep');
  if (isArray(value)) writeArray(sink, value, depth - 1);
  else if (isMap(value)) writeMap(sink, value, depth - 1);
  else writeTag(sink, value, depth - 1);
}

function writeInteger(sink: Sink, value: number | bigint): void {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw malformed('not a safe integer');
  if (value >= 0) writeHead(sink, major.unsigned, value);
  else writeHead(sink, major.negative, typeof value === 'number' ? -1 - value : -1n - value);
}

function writeText(sink: Sink, value: string): void {
  if (!value.isWellFormed()) throw malformed('text with a lone surrogate');
  const length = Buffer.byteLength(value);
  writeHead(sink, major.text, length);
  reserve(sink, length);
  textEncoder.encodeInto(value, sink.bytes.subarray(sink.length));
  sink.length += length;
}

function writeArray(sink: Sink, items: readonly CborValue[], depth: number): void {
  writeHead(sink, major.array, items.length);
  for (const item of items) write(sink, item, depth);
}

function writeMap(sink: Sink, map: CborMap, depth: number): void {
  writeHead(sink, major.map, map.size);
  // Iteration would make an array for each entry.
  ordered(map).forEach((value, key) => {
    write(sink, key, 0);
    write(sink, value, depth);
  });
}

/** Most maps are made in their order. */
function ordered(map: CborMap): CborMap {
  let before: CborKey | undefined;
  for (const key of map.keys()) {
    if (before !== undefined && compareKeys(before, key) > 0) return new Map([...map].sort(([a], [b]) => compareKeys(a, b)));
    before = key;
  }
  return map;
}

/** Bytewise order of the encoded keys (RFC 8949 §4.2.1): 0, 1, …, then −1, −2, …, then texts, the shorter first. */
function compareKeys(a: CborKey, b: CborKey): number {
  if (typeof a === 'string') return typeof b === 'string' ? compareTexts(a, b) : 1;
  if (typeof b === 'string') return -1;
  if (a < 0 !== b < 0) return a < 0 ? 1 : -1;
  return a < 0 ? b - a : a - b;
}

function compareTexts(a: string, b: string): number {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length - right.length || Buffer.compare(left, right);
}

function writeTag(sink: Sink, { tag, value }: CborTag, depth: number): void {
  if (!Number.isSafeInteger(tag) || tag < 0) throw malformed('value has no CBOR form');
  writeHead(sink, major.tag, tag);
  write(sink, value, depth);
}

function writeBytes(sink: Sink, type: number, bytes: Uint8Array): void {
  writeHead(sink, type, bytes.length);
  if (sink.parts === undefined || bytes.length < keptBytes) append(sink, bytes);
  else {
    closePart(sink, sink.parts);
    sink.parts.push(bytes);
  }
}

/** The initial byte and its argument in the fewest bytes (RFC 8949 §3, §4.2.1). */
function writeHead(sink: Sink, type: number, argument: number | bigint): void {
  const initial = type << 5;
  if (argument < 24) writeByte(sink, initial | Number(argument));
  else if (argument < 0x100) writeArgument(sink, initial | 24, Number(argument), 1);
  else if (argument < 0x1_0000) writeArgument(sink, initial | 25, Number(argument), 2);
  else if (argument < 0x1_0000_0000) writeArgument(sink, initial | 26, Number(argument), 4);
  else writeLong(sink, initial | 27, checked64(BigInt(argument)));
}

function writeArgument(sink: Sink, initial: number, argument: number, size: 1 | 2 | 4): void {
  reserve(sink, 1 + size);
  sink.bytes[sink.length] = initial;
  for (let i = size, rest = argument; i > 0; i -= 1, rest >>>= 8) sink.bytes[sink.length + i] = rest;
  sink.length += 1 + size;
}

function writeLong(sink: Sink, initial: number, argument: bigint): void {
  writeByte(sink, initial);
  reserve(sink, 8);
  new DataView(sink.bytes.buffer).setBigUint64(sink.length, argument);
  sink.length += 8;
}

function checked64(argument: bigint): bigint {
  if (argument >= 1n << 64n) throw malformed('integer beyond 64 bits');
  return argument;
}

function writeByte(sink: Sink, byte: number): void {
  reserve(sink, 1);
  sink.bytes[sink.length] = byte;
  sink.length += 1;
}

function append(sink: Sink, bytes: Uint8Array): void {
  reserve(sink, bytes.length);
  sink.bytes.set(bytes, sink.length);
  sink.length += bytes.length;
}

function reserve(sink: Sink, count: number): void {
  if (sink.length + count <= sink.bytes.length) return;
  const grown = unwritten(Math.max(sink.bytes.length * 2, sink.length + count));
  grown.set(sink.bytes.subarray(0, sink.length));
  sink.bytes = grown;
}
