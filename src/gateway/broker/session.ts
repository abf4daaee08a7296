import type { Duplex } from 'node:stream';
import { type Bucket, createBucket } from './bucket.ts';
import type { Identity, Peer } from './identity.ts';
import type { ClientInternals } from './internals.ts';
import type { ConnectionShare, GatewayLimits } from './limits.ts';
import { createPerClientQueue } from './perClientQueue.ts';
import type { PresenceReason } from './presence.ts';
import { createAnswered } from './refusals.ts';
import { downPrefixOf } from './topics.ts';

/** One connection after its TLS handshake. Online from the CONNACK on; ended when `ending` is set, with the first reason that was given. */
export type Session = {
  readonly identity: Identity;
  /** Whose certificate it is. */
  readonly peer: Peer;
  /** What MQTT is spoken over: the TLS connection itself, a WebSocket in it, or a connection of a TLS terminator. */
  readonly socket: Duplex;
  readonly client: ClientInternals;
  readonly share: ConnectionShare;
  readonly publishBucket: Bucket;
  /** Of payloads. */
  readonly byteBucket: Bucket;
  readonly enqueue: ReturnType<typeof createPerClientQueue>;
  /** Resolves when the client can be sent to; messages that came before wait for it. */
  online: Pick<PromiseWithResolvers<void>, 'promise' | 'resolve'>;
  /** What is sent to the connection has a topic below this prefix. */
  readonly downPrefix: string;
  /** Refusals of messages that were answered. */
  readonly answered: ReturnType<typeof createAnswered>;
  will: object | undefined;
  isOnline: boolean;
  ending: { readonly reason: PresenceReason; readonly detail: string } | undefined;
  outstandingBytes: number;
  /** Of the last message with QoS 1 that was sent. */
  packetId: number;
  /** Messages that are written at the end of this turn of the event loop. */
  readonly gathered: Gathered[];
};

export type Gathered = {
  readonly parts: readonly Uint8Array[];
  /** Of these, what nobody else reads. */
  readonly given: readonly Uint8Array[];
  readonly taken: () => void;
};

export function createSession(
  identity: Identity,
  peer: Peer,
  socket: Duplex,
  client: ClientInternals,
  limits: GatewayLimits,
  now: number,
): Session {
  const share = limits[identity.kind];
  return {
    identity,
    peer,
    socket,
    client,
    share,
    publishBucket: createBucket(share.publishPerSecond, share.publishBurst, now),
    byteBucket: createBucket(limits[`${identity.kind}InboundBytesPerSecond`], limits.inboundBurstBytes, now),
    enqueue: createPerClientQueue(),
    online: Promise.withResolvers<void>(),
    downPrefix: downPrefixOf(identity),
    answered: createAnswered(),
    will: undefined,
    isOnline: false,
    ending: undefined,
    outstandingBytes: 0,
    packetId: 0,
    gathered: [],
  };
}

/** Of all that are online: one promise for each of them would stay. */
export const onlineNow: Session['online'] = { promise: Promise.resolve(), resolve: () => undefined };

/** Notes why the connection ends; the first reason stays. */
export function markEnding(session: Session, reason: PresenceReason, detail: string): void {
  session.ending ??= { reason, detail };
}
