import { concat, equalBytes } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { maxRetransmissions, responseTimeoutMs } from '../../src/production/devauth/host.ts';
import { createMctpAssembler, encodeMctp, type MctpMessage, maxMctpMessageBytes } from '../../src/spdm/transport/mctp.ts';
import { createSerialDecoder, encodeSerialFrame, maxSerialUnitBytes } from '../../src/spdm/transport/serial.ts';
import type { ByteLink } from './byteLink.ts';

/** Whole MCTP messages over serial frames (DSP0236, DSP0253) on a byte link. A message begins with its type byte.
 *  Who asks sets the tag-owner bit and a new tag for each request; a repeat has the same tag and the same bytes, so that the answering side
 *  can distinguish it from a new request and repeats its answer: nothing is executed twice, and no SPDM record is opened twice. */

/** Endpoint ids of the two ends (DSP0236 §8.1: 8 and above are free for use). */
export const hostEid = 8;
export const deviceEid = 9;

const tagCount = 8;
/** Requests that may wait behind the one that is out; and on the answering side, behind the one worked on. */
const maxQueuedRequests = 16;

export type MctpClient = {
  /** Sends a request and waits for its answer; repeats it after 500 ms + 12 ms per KiB, five times. One at a time, others wait.
   *  @throws NusecError LINK_TIMEOUT, LINK_FAILED (the link was closed), RATE_LIMITED (too many wait), PACKET_TOO_LARGE */
  readonly request: (message: Uint8Array) => Promise<Uint8Array>;
  readonly close: () => Promise<void>;
};

type Outcome = Uint8Array | 'late' | 'closed';

export type MctpClientOptions = {
  /** Body bytes of one packet, 1–250. */
  readonly unitBytes?: number;
  readonly timeoutMs?: (messageBytes: number) => number;
  readonly retransmissions?: number;
};

/** The asking side: programmer, gateway or command line. */
export function createMctpClient(link: ByteLink, options: MctpClientOptions = {}): MctpClient {
  const { unitBytes = maxSerialUnitBytes, timeoutMs = responseTimeoutMs, retransmissions = maxRetransmissions } = options;
  let tag = 0;
  let queued = 0;
  let turn: Promise<unknown> = Promise.resolve();
  let isClosed = false;
  let waiting: { readonly tag: number; readonly settle: (outcome: Outcome) => void } | undefined;
  link.onClose(() => {
    isClosed = true;
    waiting?.settle('closed');
  });
  receive(link, hostEid, message => {
    if (!message.tagOwner && message.tag === waiting?.tag) waiting.settle(message.body);
  });

  const exchange = async (message: Uint8Array): Promise<Uint8Array> => {
    tag = (tag + 1) % tagCount;
    const frames = framesOf({ body: message, destination: deviceEid, source: hostEid, tag, tagOwner: true }, unitBytes);
    try {
      for (let sent = 0; sent <= retransmissions && !isClosed; sent += 1) {
        const outcome = Promise.withResolvers<Outcome>();
        waiting = { tag, settle: outcome.resolve };
        const timer = setTimeout(outcome.resolve, timeoutMs(message.length), 'late');
        await link.write(frames);
        const result = await outcome.promise;
        clearTimeout(timer);
        if (result instanceof Uint8Array) return result;
      }
    } finally {
      waiting = undefined;
    }
    if (isClosed) throw new NusecError('LINK_FAILED', 'the link was closed');
    throw new NusecError('LINK_TIMEOUT', `no answer after ${retransmissions + 1} attempts`);
  };
  return {
    request: message => {
      if (message.length > maxMctpMessageBytes) return Promise.reject(new NusecError('PACKET_TOO_LARGE', 'the message is too long'));
      if (queued >= maxQueuedRequests) return Promise.reject(new NusecError('RATE_LIMITED', 'too many requests wait for this link'));
      queued += 1;
      const answer = turn.then(() => exchange(message));
      turn = answer
        .catch(() => undefined)
        .then(() => {
          queued -= 1;
        });
      return answer;
    },
    close: link.close,
  };
}

/** Answers one message; nothing is sent for undefined. `send` may be called before the handler ends, so that something can follow the answer. */
export type MctpHandler = (message: Uint8Array, send: (answer: Uint8Array) => Promise<void>) => Promise<void>;

/** The answering side: works on one request after the other, and answers a repeat of the last one again without working on it. */
export function serveMctp(link: ByteLink, handler: MctpHandler, unitBytes = maxSerialUnitBytes): void {
  let last: Work | undefined;
  let queued = 0;
  let turn: Promise<void> = Promise.resolve();

  const send = (request: MctpMessage, body: Uint8Array): Promise<void> => {
    const { source, tag } = request;
    const frames = framesOf({ body, destination: source, source: deviceEid, tag, tagOwner: false }, unitBytes);
    return link.write(frames).catch(() => undefined);
  };
  const work = (mine: Work): Promise<void> =>
    handler(mine.request.body, answer => {
      mine.answer = answer;
      return send(mine.request, answer);
    });
  receive(link, deviceEid, request => {
    if (!request.tagOwner) return;
    if (last && isRepeat(last.request, request)) {
      if (last.answer) void send(request, last.answer);
      return;
    }
    if (queued >= maxQueuedRequests) return;
    queued += 1;
    const mine: Work = { request };
    last = mine;
    turn = turn
      .then(() => work(mine))
      .finally(() => {
        queued -= 1;
      });
  });
}

type Work = { readonly request: MctpMessage; answer?: Uint8Array };

const isRepeat = (a: MctpMessage, b: MctpMessage): boolean => a.tag === b.tag && a.source === b.source && equalBytes(a.body, b.body);

/** Damaged frames and packets that do not fit together are dropped: the repeat brings them again. */
function receive(link: ByteLink, ownEid: number, take: (message: MctpMessage) => void): void {
  const decoder = createSerialDecoder();
  const assembler = createMctpAssembler(ownEid);
  const assembled = (packet: Uint8Array): MctpMessage | undefined => {
    try {
      return assembler.push(packet);
    } catch {
      return undefined;
    }
  };
  link.onData(bytes => {
    for (const packet of decoder.push(bytes)) {
      const message = assembled(packet);
      if (message) take(message);
    }
  });
}

const framesOf = (message: MctpMessage, unitBytes: number): Uint8Array => concat(...encodeMctp(message, unitBytes).map(encodeSerialFrame));
