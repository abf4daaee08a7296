import { concat } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { headerBytes } from './constants.ts';

/** Little-endian reading and writing, and the common head of all SPDM messages: SPDMVersion | code | param1 | param2 (DSP0274 §10.1). */

export type Reader = {
  u8(): number;
  u16(): number;
  u24(): number;
  u32(): number;
  /** A copy of the next `length` bytes. */
  take(length: number): Uint8Array;
  left(): number;
  /** Refuses trailing bytes. */
  end(): void;
};

/** @returns a reader whose every method throws SPDM_MALFORMED when the bytes run out */
export function openReader(bytes: Uint8Array, what: string): Reader {
  let at = 0;
  const advance = (length: number): number => {
    if (length > bytes.length - at) throw malformed(`${what}: too short`);
    at += length;
    return at - length;
  };
  const number = (length: number): number => {
    const from = advance(length);
    let value = 0;
    for (let i = length - 1; i >= 0; i -= 1) value = value * 256 + bytes[from + i]!;
    return value;
  };
  return {
    u8: () => number(1),
    u16: () => number(2),
    u24: () => number(3),
    u32: () => number(4),
    take: length => {
      const from = advance(length);
      return bytes.slice(from, from + length);
    },
    left: () => bytes.length - at,
    end: () => {
      if (at !== bytes.length) throw malformed(`${what}: ${bytes.length - at} trailing bytes`);
    },
  };
}

export function malformed(detail: string): NusecError {
  return new NusecError('SPDM_MALFORMED', detail);
}

export const u8 = (value: number): Uint8Array => Uint8Array.of(value);
export const u16 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, value >>> 8);
export const u24 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, value >>> 16);
export const u32 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24);

export function encodeMessage(version: number, code: number, param1: number, param2: number, ...body: readonly Uint8Array[]): Uint8Array {
  return concat(Uint8Array.of(version, code, param1, param2), ...body);
}

export type OpenMessage = { readonly version: number; readonly param1: number; readonly param2: number; readonly body: Reader };

/** Opens a message of one known code. @throws SPDM_MALFORMED when it is shorter than its head or has another code */
export function openMessage(bytes: Uint8Array, code: number, what: string): OpenMessage {
  if (bytes.length < headerBytes || bytes[1] !== code) throw malformed(`${what}: wrong head`);
  return { version: bytes[0]!, param1: bytes[2]!, param2: bytes[3]!, body: openReader(bytes.subarray(headerBytes), what) };
}
