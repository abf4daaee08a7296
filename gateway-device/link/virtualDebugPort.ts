import { concat, utf8 } from '../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../src/cbor/schema.ts';
import { NusecError } from '../../src/errors.ts';
import { type ByteLink, type ByteServer, connectTcp, listenTcp } from './byteLink.ts';
import {
  type DebugPort,
  type DebugReply,
  type DebugRequest,
  debugReply,
  debugRequest,
  decodeIdentity,
  decodeStatus,
  devAuthMagic,
  maxDebugFrameBytes,
  maxTransferBytes,
  memoryMap,
} from './debugPort.ts';

/** DevAuth code for virtual chips, as it goes to SRAM: magic and version 1.0. */
const devAuthCode: Uint8Array = concat(utf8(devAuthMagic), Uint8Array.of(1, 0));

const lengthBytes = 4;
const replyTimeoutMs = 10_000;
/** A probe has one request outstanding; a client that sends many without waiting is disconnected. */
const maxQueuedRequests = 4;

/** Connects to the debug port of a virtual chip. @throws NusecError LINK_FAILED */
export async function connectDebugPort(host: string, port: number): Promise<DebugPort> {
  const link = await connectTcp(host, port);
  const call = caller(link);
  const needed = async (request: DebugRequest): Promise<Uint8Array> => (await call(request)) ?? new Uint8Array();
  return {
    flash: memoryMap,
    connect: async () => void (await call({ op: 'connect' })),
    readUid: async () => decodeIdentity(await needed({ op: 'readUid' })),
    readMemory: (address, length) => readPieces(needed, address, length),
    writeMemory: async (address, data) => {
      for (let at = 0; at < data.length; at += maxTransferBytes) {
        await call({ op: 'writeMemory', address: address + at, data: data.subarray(at, at + maxTransferBytes) });
      }
    },
    loadDevAuth: async () => {
      const { address } = memoryMap.sram;
      await call({ op: 'writeMemory', address, data: devAuthCode });
      return address;
    },
    run: async address => void (await call({ op: 'run', address })),
    reset: async () => void (await call({ op: 'reset' })),
    status: async () => decodeStatus(await needed({ op: 'status' })),
    close: link.close,
  };
}

async function readPieces(call: (request: DebugRequest) => Promise<Uint8Array>, address: number, length: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < length; at += maxTransferBytes) {
    pieces.push(await call({ op: 'readMemory', address: address + at, length: Math.min(maxTransferBytes, length - at) }));
  }
  return concat(...pieces);
}

/** One request at a time; the link is closed when an answer does not come, because later answers could no longer be matched to requests. */
function caller(link: ByteLink): (request: DebugRequest) => Promise<Uint8Array | undefined> {
  let turn: Promise<unknown> = Promise.resolve();
  let settle: ((reply: DebugReply | undefined) => void) | undefined;
  link.onClose(() => settle?.(undefined));
  readFrames(link, frame => settle?.(decodeAs(debugReply, frame)));
  const exchange = async (request: DebugRequest): Promise<Uint8Array | undefined> => {
    const answer = Promise.withResolvers<DebugReply | undefined>();
    settle = answer.resolve;
    const timer = setTimeout(() => void link.close(), replyTimeoutMs);
    try {
      await link.write(frameOf(encodeAs(debugRequest, request)));
      return accepted(await answer.promise);
    } finally {
      clearTimeout(timer);
      settle = undefined;
    }
  };
  return request => {
    const answer = turn.then(() => exchange(request));
    turn = answer.catch(() => undefined);
    return answer;
  };
}

function accepted(reply: DebugReply | undefined): Uint8Array | undefined {
  if (!reply) throw new NusecError('LINK_FAILED', 'the debug port was closed');
  if (reply.status === 'locked') throw new NusecError('DEBUG_LOCKED', 'the debug port of the chip is locked');
  if (reply.status !== 'ok') throw new NusecError('BAD_REQUEST', `debug port: ${reply.status}`);
  return reply.data;
}

/** Serves the debug port of a chip on loopback. @param answer  never throws  @throws NusecError as listenTcp */
export function serveDebugPort(port: number, answer: (request: DebugRequest) => Promise<DebugReply>, option?: string): Promise<ByteServer> {
  const onLink = (link: ByteLink): void => {
    let turn: Promise<void> = Promise.resolve();
    let queued = 0;
    readFrames(link, frame => {
      queued += 1;
      if (queued > maxQueuedRequests) return void link.close();
      turn = turn.then(async () => {
        const reply = await answerFrame(frame, answer);
        await link.write(frameOf(encodeAs(debugReply, reply))).catch(() => undefined);
        queued -= 1;
      });
    });
  };
  return listenTcp(port, onLink, option);
}

async function answerFrame(frame: Uint8Array, answer: (request: DebugRequest) => Promise<DebugReply>): Promise<DebugReply> {
  try {
    return await answer(decodeAs(debugRequest, frame));
  } catch (error) {
    if (error instanceof NusecError) return { status: 'bad-request' };
    throw error;
  }
}

/** Cuts the stream into frames; a length above the limit, or bytes that are no message, close the link. */
function readFrames(link: ByteLink, take: (frame: Uint8Array) => void): void {
  let pending: Uint8Array = new Uint8Array();
  link.onData(bytes => {
    pending = concat(pending, bytes);
    while (pending.length >= lengthBytes) {
      const length = new DataView(pending.buffer, pending.byteOffset).getUint32(0);
      if (length > maxDebugFrameBytes) return void link.close();
      if (pending.length < lengthBytes + length) return;
      const frame = pending.slice(lengthBytes, lengthBytes + length);
      pending = pending.slice(lengthBytes + length);
      try {
        take(frame);
      } catch {
        return void link.close();
      }
    }
  });
}

function frameOf(body: Uint8Array): Uint8Array {
  const head = new Uint8Array(lengthBytes);
  new DataView(head.buffer).setUint32(0, body.length);
  return concat(head, body);
}
