import { NusecError } from '../errors.ts';
import { headerBytes } from './constants.ts';

/** Little-endian reading and writing, and the common head of all SPDM messages: SPDMVersion | code | param1 | param2 (DSP0274 §10.1). */

export type Reader = {
  u8(): number;
  u16(): number;
  u24(): number;
  u32(): number;
  /** The next `length` bytes, as a view. */
  take(length: number): Uint8Array;
  left(): number;
  /** Refuses trailing bytes. */
  end(): void;
};

/** @param at where to begin  @returns a reader whose every method throws SPDM_MALFORMED when the bytes run out */
export function openReader(bytes: Uint8Array, what: string, at = 0): Reader {
  return new Cursor(bytes, what, at);
}

/** A class because one is made for every message: its methods are shared. */
class Cursor implements Reader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at: number;

  constructor(bytes: Uint8Array, what: string, at: number) {
    this.#bytes = bytes;
    this.#what = what;
    this.#at = at;
  }

  #advance(length: number): number {
    if (length > this.#bytes.length - this.#at) throw malformed(`${this.#what}: too short`);
    this.#at += length;
    return this.#at - length;
  }

  #number(length: number): number {
    const from = this.#advance(length);
    let value = 0;
    for (let i = length - 1; i >= 0; i -= 1) value = value * 256 + this.#bytes[from + i]!;
    return value;
  }

  u8(): number {
    return this.#number(1);
  }
  u16(): number {
    return this.#number(2);
  }
  u24(): number {
    return this.#number(3);
  }
  u32(): number {
    return this.#number(4);
  }

  take(length: number): Uint8Array {
    const from = this.#advance(length);
    return this.#bytes.subarray(from, from + length);
  }

  left(): number {
    return this.#bytes.length - this.#at;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw malformed(`${this.#what}: ${this.left()} trailing bytes`);
  }
}

export function malformed(detail: string): NusecError {
  return new NusecError('SPDM_MALFORMED', detail);
}

export const u8 = (value: number): Uint8Array => Uint8Array.of(value);
export const u16 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, value >>> 8);
export const u24 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, value >>> 16);
export const u32 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24);

export function encodeMessage(version: number, code: number, param1: number, param2: number, ...body: readonly Uint8Array[]): Uint8Array {
  let length = headerBytes;
  for (const part of body) length += part.length;
  const message = new Uint8Array(length);
  message[0] = version;
  message[1] = code;
  message[2] = param1;
  message[3] = param2;
  let at = headerBytes;
  for (const part of body) {
    message.set(part, at);
    at += part.length;
  }
  return message;
}

export type OpenMessage = { readonly version: number; readonly param1: number; readonly param2: number; readonly body: Reader };

/** Opens a message of one known code. @throws SPDM_MALFORMED when it is shorter than its head or has another code */
export function openMessage(bytes: Uint8Array, code: number, what: string): OpenMessage {
  if (bytes.length < headerBytes || bytes[1] !== code) throw malformed(`${what}: wrong head`);
  return { version: bytes[0]!, param1: bytes[2]!, param2: bytes[3]!, body: openReader(bytes, what, headerBytes) };
}
