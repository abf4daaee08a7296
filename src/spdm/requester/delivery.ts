import { concat } from '../../bytes.ts';
import { capability, responseCode, spdmError, type Wire } from '../constants.ts';
import {
  chunkHeadBytes,
  decodeChunkResponse,
  decodeChunkSendAck,
  encodeChunkGet,
  encodeChunkSend,
  firstChunkHeadBytes,
} from '../messages/chunk.ts';
import { decodeError, decodeLargeResponse, decodeNotReady, type NotReady } from '../messages/error.ts';
import { encodeRespondIfReady } from '../messages/respondIfReady.ts';
import type { SpdmSession } from '../session.ts';
import { bothHave, type Connection, checkHead, unexpected } from './connection.ts';

/** What happens between a request and its response (DSP0274 §10.10–10.12, §10.26): waiting for a busy responder, fetching what was not ready, sending
 *  and fetching messages in chunks. None of it is in a transcript, so it is transparent for the caller. */

/** Carries one message and gives the answer. Time-outs belong to the link. */
export type Link = (wire: Wire) => Promise<Wire>;

/** One SPDM message to the responder, its response back: in the clear, or in a session. */
export type Ask = (message: Uint8Array) => Promise<Uint8Array>;

/** Waits for the caller, who has a clock. Without it Busy and ResponseNotReady are returned like any other ERROR. */
export type Wait = (delayMs: number) => Promise<void>;

const maxTries = 16;
const busyDelayMs = 20;
const maxDelayMs = 10_000;
/** Longest response that is put together from chunks. */
const maxLargeBytes = 0x28000;

export const clearAsk =
  (link: Link): Ask =>
  async message => {
    const answer = await link({ kind: 'clear', message });
    if (answer.kind !== 'clear') throw unexpected('a secured record without a session');
    return answer.message;
  };

/** In a session an ERROR may come in the clear: the responder no longer has the session. */
export const sessionAsk =
  (session: SpdmSession, link: Link): Ask =>
  async message => {
    const answer = await link({ kind: 'secured', message: session.sealSpdm(message) });
    if (answer.kind === 'secured') return session.openSpdm(answer.message);
    if (answer.message[1] !== responseCode.error) throw unexpected('a clear message in a session');
    return answer.message;
  };

/** @param connection as far as it is known when the message goes out
 *  @returns the response, or the ERROR that nothing here can do anything about */
export async function deliver(ask: Ask, connection: Connection, message: Uint8Array, wait?: Wait): Promise<Uint8Array> {
  let response = await send(ask, connection, message);
  for (let tries = 1; ; tries += 1) {
    const next = await afterError(ask, connection, message, response, wait, tries);
    if (!next) return response;
    response = next;
  }
}

async function afterError(
  ask: Ask,
  connection: Connection,
  message: Uint8Array,
  response: Uint8Array,
  wait: Wait | undefined,
  tries: number,
): Promise<Uint8Array | undefined> {
  if (response[1] !== responseCode.error || tries > maxTries) return undefined;
  const { code } = decodeError(response);
  if (code === spdmError.largeResponse && hasChunks(connection)) return fetchChunks(ask, connection, decodeLargeResponse(response));
  if (code === spdmError.busy && wait) {
    await wait(busyDelayMs * tries);
    return send(ask, connection, message);
  }
  if (code !== spdmError.responseNotReady || !wait) return undefined;
  const notReady = readNotReady(response);
  if (notReady === undefined || notReady.requestCode !== message[1]) return undefined;
  const { rdtExponent, requestCode, token } = notReady;
  await wait(Math.min(2 ** rdtExponent / 1000, maxDelayMs));
  return ask(encodeRespondIfReady(connection.version, { originalCode: requestCode, token }));
}

/** A responder that does not say when to ask again is not ready all the same. */
function readNotReady(response: Uint8Array): NotReady | undefined {
  try {
    return decodeNotReady(response);
  } catch {
    return undefined;
  }
}

const hasChunks = (connection: Connection): boolean => connection.version >= 0x12 && bothHave(connection, capability.chunk);

async function send(ask: Ask, connection: Connection, message: Uint8Array): Promise<Uint8Array> {
  const chunks = openChunks(connection, message);
  if (!chunks) return ask(message);
  for (;;) {
    const response = chunks.accept(await ask(chunks.next()));
    if (response) return response;
  }
}

/** A request that goes out in chunks: the next one, and what its acknowledgement says. */
export type SentChunks = {
  next(): Uint8Array;
  /** @returns the response to the whole request, or undefined while there are more chunks to send  @throws SPDM_UNEXPECTED, SPDM_MALFORMED */
  accept(answer: Uint8Array): Uint8Array | undefined;
};

/** @returns undefined for a message that goes out as it is */
export function openChunks(connection: Connection, message: Uint8Array): SentChunks | undefined {
  const { version, peer } = connection;
  const transferBytes = peer?.dataTransferBytes ?? 0;
  if (!hasChunks(connection) || message.length <= transferBytes) return undefined;
  const handle = message[1]!;
  let sequence = -1;
  let sent = 0;
  return {
    next: () => {
      sequence += 1;
      const first = sequence === 0;
      const data = message.subarray(sent, sent + transferBytes - (first ? firstChunkHeadBytes : chunkHeadBytes));
      sent += data.length;
      const total = first ? { totalBytes: message.length } : {};
      return encodeChunkSend(version, { handle, sequence, last: sent === message.length, ...total, data });
    },
    accept: answer => {
      if (answer[1] === responseCode.error) return answer;
      checkHead(connection, answer, responseCode.chunkSendAck);
      const ack = decodeChunkSendAck(answer);
      if (ack.handle !== handle || ack.sequence !== sequence) throw unexpected('CHUNK_SEND_ACK is for another chunk');
      if (ack.early || sent === message.length) return ack.response;
      if (ack.response.length > 0) throw unexpected('CHUNK_SEND_ACK has a response too early');
      return undefined;
    },
  };
}

async function fetchChunks(ask: Ask, connection: Connection, handle: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let totalBytes = 0;
  for (let sequence = 0, received = 0; ; sequence += 1) {
    const answer = await ask(encodeChunkGet(connection.version, { handle, sequence }));
    if (answer[1] === responseCode.error) return answer;
    checkHead(connection, answer, responseCode.chunkResponse);
    const chunk = decodeChunkResponse(answer);
    totalBytes = chunk.totalBytes ?? totalBytes;
    received += chunk.data.length;
    parts.push(chunk.data);
    const fits = chunk.handle === handle && chunk.sequence === sequence && received <= totalBytes && totalBytes <= maxLargeBytes;
    if (!fits || chunk.last !== (received === totalBytes)) throw unexpected('CHUNK_RESPONSE is not the chunk asked for');
    if (chunk.last) return concat(...parts);
  }
}
