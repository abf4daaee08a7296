import type { TLSSocket } from 'node:tls';
import { type Bucket, createBucket } from './bucket.ts';
import type { Identity } from './identity.ts';
import type { ClientInternals } from './internals.ts';
import type { ConnectionShare, GatewayLimits } from './limits.ts';
import { createPerClientQueue } from './perClientQueue.ts';
import type { PresenceReason } from './presence.ts';
import type { ConnectRefusal } from './rights.ts';
import { downPrefixOf } from './topics.ts';

/** One connection after its TLS handshake. Online from the CONNACK on; ended when `ending` is set, with the first reason that was given. */
export type Session = {
  readonly identity: Identity;
  readonly socket: TLSSocket;
  readonly client: ClientInternals;
  readonly remoteAddress: string;
  readonly share: ConnectionShare;
  readonly publishBucket: Bucket;
  readonly enqueue: ReturnType<typeof createPerClientQueue>;
  /** Resolves when the client can be sent to; messages that came before wait for it. */
  readonly online: PromiseWithResolvers<void>;
  /** What is sent to the connection has a topic below this prefix. */
  readonly downPrefix: string;
  refusal: ConnectRefusal | undefined;
  will: object | undefined;
  isOnline: boolean;
  ending: { readonly reason: PresenceReason; readonly detail: string } | undefined;
  outstandingBytes: number;
};

export function createSession(identity: Identity, socket: TLSSocket, client: ClientInternals, limits: GatewayLimits, now: number): Session {
  const share = limits[identity.kind];
  return {
    identity,
    socket,
    client,
    remoteAddress: socket.remoteAddress ?? 'unknown',
    share,
    publishBucket: createBucket(share.publishPerSecond, share.publishBurst, now),
    enqueue: createPerClientQueue(),
    online: Promise.withResolvers<void>(),
    downPrefix: downPrefixOf(identity),
    refusal: undefined,
    will: undefined,
    isOnline: false,
    ending: undefined,
    outstandingBytes: 0,
  };
}

/** Notes why the connection ends; the first reason stays. */
export function markEnding(session: Session, reason: PresenceReason, detail: string): void {
  session.ending ??= { reason, detail };
}

/** Ends the connection at once; what was not sent is lost. */
export function cut(session: Session, reason: PresenceReason, detail: string): void {
  markEnding(session, reason, detail);
  session.socket.destroy();
}

/** Ends the connection so that what was sent still arrives: nothing more is read, and the socket closes when the client has closed
 *  or after `graceMs`. Reading into the void keeps a reset from overtaking the last message. */
export function endGently(session: Session, graceMs: number): void {
  session.socket.removeAllListeners('readable');
  session.socket.resume();
  session.socket.end();
  setTimeout(() => session.socket.destroy(), graceMs).unref();
}
