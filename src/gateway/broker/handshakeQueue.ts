import type { Socket } from 'node:net';
import { connectionKey, type Ends } from '../../listening.ts';
import type { GatewayLimits } from './limits.ts';
import { prefixOf } from './prefix.ts';

/** Who may begin a TLS handshake, before anybody knows who it is. A connection that has sent nothing waits outside and takes no place; those that have
 *  sent a ClientHello get places in turn: the address and network with the fewest handshakes comes first, and of one address the newest connection,
 *  because the oldest has mostly given up. Who shows a session ticket of ours comes before
 *  those that nobody knows. Strangers are bounded together; when there are too many, those of the fullest address go. */

export type HandshakeQueue = {
  admit(socket: Socket): void;
  /** The handshake of this connection is over. */
  finished(socket: Ends): void;
  stats(): { readonly handshakesInFlight: number; readonly handshakesWaiting: number; readonly silentConnections: number };
};

/** A connection whose handshake is not over. */
type Stranger = {
  readonly socket: Socket;
  readonly key: string;
  readonly address: string;
  /** When its handshake has to be over, whatever it sends meanwhile (performance.now). */
  readonly untilMs: number;
  /** It has shown a session ticket of ours when all places were taken. */
  isKnown: boolean;
  state: 'silent' | 'waiting' | 'running';
  /** Gives the place back. */
  leave: () => void;
};

/** Of all places, these are kept for machines that nobody knows yet while both kinds wait: who was here before comes first, but not alone. */
const shareOfUnknown = 0.25;

/** Connections that are ended in one turn of the event loop. */
const maxEndsPerTurn = 64;

type QueueParts = {
  /** Begins the handshake of a connection; what it has sent is still to be read. */
  readonly start: (socket: Socket) => void;
  /** A connection was ended before its handshake began. */
  readonly onEnded: (socket: Socket, why: 'silent' | 'crowded') => void;
  /** Whether a ClientHello brings a session ticket of ours. @param record TLS record */
  readonly isKnown: (record: Uint8Array) => boolean;
};

export function createHandshakeQueue(limits: GatewayLimits, { start, onEnded, isKnown }: QueueParts): HandshakeQueue {
  const strangers = new Map<string, Stranger>();
  const byAddress = new Map<string, Set<Stranger>>();
  const waiting = { known: createLine(), unknown: createLine() };
  const running = countsOf();
  let inFlight = 0;
  let unknownInFlight = 0;

  const next = (): void => {
    while (inFlight < limits.maxHandshakesInFlight) {
      const unknownFirst = unknownInFlight < limits.maxHandshakesInFlight * shareOfUnknown && inFlight > unknownInFlight;
      const [first, second] = unknownFirst ? [waiting.unknown, waiting.known] : [waiting.known, waiting.unknown];
      const stranger = first.take(running) ?? second.take(running);
      if (stranger === undefined) return;
      run(stranger);
    }
  };
  const run = (stranger: Stranger): void => {
    const { socket, address, isKnown } = stranger;
    const place = setTimeout(() => stranger.leave(), limits.handshakePlaceMs);
    stranger.state = 'running';
    stranger.leave = once(() => {
      clearTimeout(place);
      inFlight -= 1;
      if (!isKnown) unknownInFlight -= 1;
      running.add(address, -1);
      next();
    });
    inFlight += 1;
    if (!isKnown) unknownInFlight += 1;
    running.add(address, 1);
    start(socket);
  };
  const lineOf = (stranger: Stranger) => (stranger.isKnown ? waiting.known : waiting.unknown);
  const ready = (stranger: Stranger, record: Uint8Array): void => {
    // With a place free nobody has to be first, and the ticket is not looked at.
    stranger.isKnown = inFlight >= limits.maxHandshakesInFlight && isKnown(record);
    stranger.state = 'waiting';
    lineOf(stranger).join(stranger);
    next();
  };
  const forget = (stranger: Stranger): void => {
    const { key, address, state } = stranger;
    if (strangers.get(key) !== stranger) return;
    strangers.delete(key);
    const ofAddress = byAddress.get(address);
    ofAddress?.delete(stranger);
    if (ofAddress?.size === 0) byAddress.delete(address);
    if (state === 'waiting') lineOf(stranger).leave(stranger);
    stranger.leave();
  };
  const end = (stranger: Stranger, why: 'silent' | 'crowded'): void => {
    const { socket, state } = stranger;
    if (state !== 'running') onEnded(socket, why);
    forget(stranger);
    socket.destroy();
  };
  let sweeping = false;
  /** Ends those whose time is over, few in one turn: thousands that came together would keep everybody waiting. The oldest comes first. */
  const sweep = (): void => {
    let left = maxEndsPerTurn;
    for (const stranger of strangers.values()) {
      const inMs = stranger.untilMs - performance.now();
      if (inMs > 0) return void setTimeout(sweep, inMs).unref();
      if (left === 0) return void setImmediate(sweep);
      left -= 1;
      end(stranger, 'silent');
    }
    sweeping = false;
  };
  /** The oldest of the address that has the most. */
  const shed = (): void => {
    let fullest: Set<Stranger> | undefined;
    for (const ofAddress of byAddress.values()) if (ofAddress.size > (fullest?.size ?? 0)) fullest = ofAddress;
    const [oldest] = fullest ?? [];
    if (oldest !== undefined) end(oldest, 'crowded');
  };
  const countOf = (state: Stranger['state']): number => [...strangers.values()].filter(stranger => stranger.state === state).length;

  return {
    admit(socket) {
      socket.on('error', ignore);
      const [key, address] = [connectionKey(socket), socket.remoteAddress];
      // It was reset while it waited to be accepted.
      if (address === undefined) return void socket.destroy();
      // The same port came again: the earlier connection was reset, and its end has not been reported yet.
      const earlier = strangers.get(key);
      if (earlier !== undefined) forget(earlier);
      if (strangers.size >= limits.maxStrangers) shed();
      const untilMs = performance.now() + limits.handshakeTimeoutMs;
      const stranger: Stranger = { socket, key, address, untilMs, isKnown: false, state: 'silent', leave: ignore };
      strangers.set(key, stranger);
      byAddress.set(address, (byAddress.get(address) ?? new Set()).add(stranger));
      socket.once('close', () => forget(stranger));
      whenHello(socket, record => {
        if (strangers.get(key) === stranger) ready(stranger, record);
      });
      if (sweeping) return;
      sweeping = true;
      setTimeout(sweep, limits.handshakeTimeoutMs).unref();
    },
    finished(peer) {
      const stranger = strangers.get(connectionKey(peer));
      if (stranger !== undefined) forget(stranger);
    },
    stats: () => ({ handshakesInFlight: inFlight, handshakesWaiting: countOf('waiting'), silentConnections: countOf('silent') }),
  };
}

/** Connections that wait, by address. */
function createLine() {
  const byAddress = new Map<string, Stranger[]>();
  return {
    join(stranger: Stranger): void {
      const ofAddress = byAddress.get(stranger.address);
      if (ofAddress === undefined) byAddress.set(stranger.address, [stranger]);
      else ofAddress.push(stranger);
    },
    leave(stranger: Stranger): void {
      const ofAddress = byAddress.get(stranger.address);
      const at = ofAddress?.indexOf(stranger) ?? -1;
      if (ofAddress === undefined || at < 0) return;
      ofAddress.splice(at, 1);
      if (ofAddress.length === 0) byAddress.delete(stranger.address);
    },
    /** Takes the newest of the address whose network, and which itself, has the fewest handshakes. */
    take(running: ReturnType<typeof countsOf>): Stranger | undefined {
      let chosen: string | undefined;
      let least = Number.POSITIVE_INFINITY;
      for (const address of byAddress.keys()) {
        const rank = running.of(address);
        if (rank >= least) continue;
        [chosen, least] = [address, rank];
      }
      if (chosen === undefined) return undefined;
      const ofAddress = byAddress.get(chosen);
      const stranger = ofAddress?.pop();
      // Back to the end of the addresses, so that equals take turns.
      byAddress.delete(chosen);
      if (ofAddress !== undefined && ofAddress.length > 0) byAddress.set(chosen, ofAddress);
      return stranger;
    },
  };
}

/** TLS record (RFC 8446 §5.1): type, version u16, length u16. */
const recordHeadBytes = 5;
const handshakeRecord = 0x16;
const maxRecordBytes = 16_384;

/** Calls back when the first TLS record is there, whole; it can be read again then. What is no TLS is for TLS to refuse. */
function whenHello(socket: Socket, then: (record: Uint8Array) => void): void {
  let bytes: Buffer = Buffer.alloc(0);
  const look = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    if (!isWhole(bytes)) return;
    socket.removeListener('readable', look);
    socket.unshift(bytes);
    then(bytes);
  };
  socket.on('readable', look);
}

function isWhole(bytes: Buffer): boolean {
  if (bytes[0] !== handshakeRecord) return true;
  if (bytes.length < recordHeadBytes) return false;
  return bytes.length >= recordHeadBytes + Math.min(bytes.readUInt16BE(3), maxRecordBytes);
}

/** Handshakes that run, of each address and of its network. */
function countsOf() {
  const counts = new Map<string, number>();
  const change = (key: string, by: number): void => {
    const count = (counts.get(key) ?? 0) + by;
    if (count === 0) counts.delete(key);
    else counts.set(key, count);
  };
  return {
    add(address: string, by: 1 | -1): void {
      change(address, by);
      change(prefixOf(address), by);
    },
    of: (address: string): number => (counts.get(prefixOf(address)) ?? 0) * maxRank + (counts.get(address) ?? 0),
  };
}

/** Above every number of handshakes that run in parallel. */
const maxRank = 100_000;

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    action();
  };
}

/** The TLS socket on top reports the same error. */
function ignore(): void {}
