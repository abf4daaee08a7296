import { encodeMessage, malformed, openMessage, type Reader, u16, u32 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** CHUNK_SEND / CHUNK_SEND_ACK and CHUNK_GET / CHUNK_RESPONSE (DSP0274 §10.26, since 1.2): parts of a message that is larger than DataTransferSize.
 *  The sequence number has two bytes, four since 1.4. */

export type Chunk = {
  readonly handle: number;
  readonly sequence: number;
  readonly last: boolean;
  /** Length of the whole message, in the chunk with sequence 0 only. */
  readonly totalBytes?: number;
  readonly data: Uint8Array;
};
export type ChunkAck = {
  readonly handle: number;
  readonly sequence: number;
  /** Set when the responder gave up before the last chunk; `response` is an ERROR then. */
  readonly early: boolean;
  /** The response to the whole message after the last chunk; empty before. */
  readonly response: Uint8Array;
};

const lastFlag = 0x01;
const earlyFlag = 0x01;

/** Bytes around the data of a chunk: head, sequence, length; the first one also has the total. */
export const chunkHeadBytes = 12;
export const firstChunkHeadBytes = 16;

export const encodeChunkSend = (version: number, chunk: Chunk): Uint8Array => encodeChunk(version, requestCode.chunkSend, chunk);
export const encodeChunkResponse = (version: number, chunk: Chunk): Uint8Array => encodeChunk(version, responseCode.chunkResponse, chunk);
/** @throws SPDM_MALFORMED */
export const decodeChunkSend = (bytes: Uint8Array): Chunk => decodeChunk(bytes, requestCode.chunkSend, 'CHUNK_SEND');
/** @throws SPDM_MALFORMED */
export const decodeChunkResponse = (bytes: Uint8Array): Chunk => decodeChunk(bytes, responseCode.chunkResponse, 'CHUNK_RESPONSE');

function encodeChunk(version: number, code: number, { handle, sequence, last, totalBytes, data }: Chunk): Uint8Array {
  const number = version >= 0x14 ? u32(sequence) : u32(sequence & 0xffff);
  const total = totalBytes === undefined ? new Uint8Array() : u32(totalBytes);
  return encodeMessage(version, code, last ? lastFlag : 0, handle, number, u32(data.length), total, data);
}

function decodeChunk(bytes: Uint8Array, code: number, what: string): Chunk {
  const { version, param1, param2, body } = openMessage(bytes, code, what);
  const sequence = version >= 0x14 ? body.u32() : body.u16();
  if (version < 0x14) body.u16();
  const length = body.u32();
  const total = sequence === 0 ? { totalBytes: body.u32() } : {};
  const data = body.take(length);
  body.end();
  if (length === 0) throw malformed(`${what}: empty`);
  return { handle: param2, sequence, last: (param1 & lastFlag) !== 0, ...total, data };
}

export function encodeChunkSendAck(version: number, { handle, sequence, early, response }: ChunkAck): Uint8Array {
  return encodeMessage(version, responseCode.chunkSendAck, early ? earlyFlag : 0, handle, sequenceField(version, sequence), response);
}

/** @throws SPDM_MALFORMED */
export function decodeChunkSendAck(bytes: Uint8Array): ChunkAck {
  const { version, param1, param2, body } = openMessage(bytes, responseCode.chunkSendAck, 'CHUNK_SEND_ACK');
  const sequence = readSequence(version, body);
  return { handle: param2, sequence, early: (param1 & earlyFlag) !== 0, response: body.take(body.left()) };
}

export type ChunkGet = { readonly handle: number; readonly sequence: number };

export function encodeChunkGet(version: number, { handle, sequence }: ChunkGet): Uint8Array {
  return encodeMessage(version, requestCode.chunkGet, 0, handle, sequenceField(version, sequence));
}

/** @throws SPDM_MALFORMED */
export function decodeChunkGet(bytes: Uint8Array): ChunkGet {
  const { version, param2, body } = openMessage(bytes, requestCode.chunkGet, 'CHUNK_GET');
  const sequence = readSequence(version, body);
  body.end();
  return { handle: param2, sequence };
}

const sequenceField = (version: number, sequence: number): Uint8Array => (version >= 0x14 ? u32(sequence) : u16(sequence & 0xffff));
const readSequence = (version: number, body: Reader): number => (version >= 0x14 ? body.u32() : body.u16());
