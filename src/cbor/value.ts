import { NusecError } from '../errors.ts';

/** What CBOR (RFC 8949) can carry here: the part that has exactly one deterministic encoding.
 *  Integers are numbers up to ±(2^53 − 1) and bigints beyond, down to −2^64 and up to 2^64 − 1. No floats, no undefined, no indefinite lengths. */
export type CborValue = number | bigint | boolean | null | string | Uint8Array | readonly CborValue[] | CborMap | CborTag;
export type CborKey = number | string;
export type CborMap = ReadonlyMap<CborKey, CborValue>;
export type CborTag = { readonly tag: number; readonly value: CborValue };

/** Major types (RFC 8949 §3.1). */
export const major = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const;

/** Initial bytes of the three simple values in use (RFC 8949 §3.3). */
export const simple = { false: 0xf4, true: 0xf5, null: 0xf6 } as const;

/** Nesting that is encoded and decoded unless the caller says otherwise. */
export const defaultMaxDepth = 8;

export const malformed = (detail: string): NusecError => new NusecError('CBOR_MALFORMED', detail);

export const isMap = (value: CborValue): value is CborMap => value instanceof Map;

export const isArray = (value: CborValue): value is readonly CborValue[] => Array.isArray(value);

export const isTag = (value: CborValue): value is CborTag =>
  typeof value === 'object' && value !== null && !isMap(value) && !isArray(value) && !(value instanceof Uint8Array);
