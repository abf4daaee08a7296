import { concat } from '../../bytes.ts';
import { capability, maxMessageBytes, requestCode, spdmError } from '../constants.ts';
import { minDataTransferBytes } from '../messages/capabilities.ts';
import {
  chunkHeadBytes,
  decodeChunkGet,
  decodeChunkSend,
  encodeChunkResponse,
  encodeChunkSendAck,
  firstChunkHeadBytes,
} from '../messages/chunk.ts';
import { encodeError, encodeLargeResponse, tooLargeData } from '../messages/error.ts';
import {
  bothHave,
  type Exchange,
  type IncomingChunks,
  invalidRequest,
  ownCapabilities,
  Refusal,
  type Reply,
  type ResponderState,
  unexpectedRequest,
} from './state.ts';

/** CHUNK_SEND_ACK and CHUNK_RESPONSE (DSP0274 §10.26): requests and responses longer than DataTransferSize, one of them at a time. */

/** Nothing but GET_VERSION comes between the parts of a large message; any other request is refused and the transfer continues. */
export function interruptsTransfer({ outgoing, incoming }: ResponderState, code: number): boolean {
  const awaited = outgoing ? requestCode.chunkGet : incoming && requestCode.chunkSend;
  return awaited !== undefined && code !== awaited && code !== requestCode.getVersion;
}

/** @param answer works on the whole request once it is there
 *  @param roomBytes of one transfer: a response that does not fit into the acknowledgement takes its place as LargeResponse */
export async function handleChunkSend(exchange: Exchange, answer: (whole: Exchange) => Promise<Reply>, roomBytes: number): Promise<Reply> {
  const { state, request } = exchange;
  const { handle, sequence } = decodeChunkSend(request);
  const acknowledged = (early: boolean, response: Uint8Array) => encodeChunkSendAck(state.version, { handle, sequence, early, response });
  const incoming = nextIncoming(exchange);
  if (!incoming) {
    state.incoming = undefined;
    return { message: acknowledged(true, encodeError(state.version, spdmError.invalidRequest)) };
  }
  if (incoming.data.length < incoming.totalBytes) {
    state.incoming = incoming;
    return { message: acknowledged(false, new Uint8Array()) };
  }
  state.incoming = undefined;
  const reply = await answer({ ...exchange, request: incoming.data, assembled: true });
  const message = acknowledged(false, reply.message);
  return message.length <= roomBytes ? { ...reply, message } : fitted(exchange, reply, 0);
}

/** @returns undefined for a chunk that does not continue what came before, or breaks a rule of sizes */
function nextIncoming(exchange: Exchange): IncomingChunks | undefined {
  const { state, request, session } = exchange;
  const chunk = decodeChunkSend(request);
  const limits = ownCapabilities(exchange);
  const before = state.incoming;
  const totalBytes = before?.totalBytes ?? chunk.totalBytes ?? 0;
  const data = concat(before?.data ?? new Uint8Array(), chunk.data);
  const smallest = minDataTransferBytes - (before ? chunkHeadBytes : firstChunkHeadBytes);
  const fits = data.length <= totalBytes && chunk.last === (data.length === totalBytes);
  const sized = chunk.last || chunk.data.length >= smallest;
  const starts = chunk.sequence === 0 && totalBytes > minDataTransferBytes && totalBytes <= limits.maxMessageBytes && !chunk.last;
  const follows = before?.handle === chunk.handle && chunk.sequence === before.sequence + 1 && before.session === session;
  if (!fits || !sized || !(before ? follows : starts)) return undefined;
  return { handle: chunk.handle, sequence: chunk.sequence, totalBytes, data, session };
}

/** A response that is too long for one transfer is kept, and its handle sent instead. @throws Refusal ResponseTooLarge */
export function fitted(exchange: Exchange, reply: Reply, roomBytes: number): Reply {
  const { state, session } = exchange;
  if (reply.message.length <= roomBytes) return reply;
  const longest = state.requester?.maxMessageBytes ?? maxMessageBytes;
  if (!bothHave(exchange, capability.chunk) || reply.message.length > longest) {
    throw new Refusal(spdmError.responseTooLarge, 0, false, tooLargeData(reply.message.length));
  }
  const handle = state.nextHandle;
  state.nextHandle = (handle + 1) & 0xff;
  state.outgoing = { handle, sequence: 0, sentBytes: 0, message: reply.message, session };
  return { ...reply, message: encodeLargeResponse(state.version, handle) };
}

export function handleChunkGet({ settings, state, request, session }: Exchange): Reply {
  const { handle, sequence } = decodeChunkGet(request);
  const { outgoing } = state;
  if (!outgoing || outgoing.session !== session) throw unexpectedRequest();
  if (outgoing.handle !== handle || (outgoing.sequence & sequenceMask(state)) !== sequence) throw invalidRequest();
  const { message, sentBytes } = outgoing;
  const first = sentBytes === 0;
  const transferBytes = Math.min(state.requester!.dataTransferBytes, settings.capabilities.dataTransferBytes);
  const data = message.subarray(sentBytes, sentBytes + transferBytes - (first ? firstChunkHeadBytes : chunkHeadBytes));
  const last = sentBytes + data.length === message.length;
  if (last) state.outgoing = undefined;
  else state.outgoing = { ...outgoing, sequence: outgoing.sequence + 1, sentBytes: sentBytes + data.length };
  return {
    message: encodeChunkResponse(state.version, { handle, sequence, last, ...(first ? { totalBytes: message.length } : {}), data }),
  };
}

const sequenceMask = ({ version }: ResponderState): number => (version >= 0x14 ? 0x7fffffff : 0xffff);
