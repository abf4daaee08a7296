import type { Identity } from './identity.ts';

/** Why a connection ended or was refused. The words are stable: operators search for them. */
export type PresenceReason =
  | 'AUTH_ERROR'
  | 'CLIENT_INITIATED'
  | 'CONNECTION_LOST'
  | 'DUPLICATE_CLIENTID'
  | 'FORBIDDEN'
  | 'KEEP_ALIVE_TIMEOUT'
  | 'THROTTLED'
  | 'REVOKED'
  | 'SLOW_CONSUMER'
  | 'PACKET_TOO_LARGE'
  | 'SERVER_FAULT'
  | 'SERVER_SHUTDOWN';

/** `refused` ends a connection that never got its CONNACK 0; `identity` is null while the certificate is not accepted. Times in Unix ms. */
export type PresenceEvent = {
  readonly at: number;
  readonly identity: Identity | null;
  readonly remoteAddress: string;
} & (
  | { readonly state: 'connected' }
  | { readonly state: 'disconnected' | 'refused'; readonly reason: PresenceReason; readonly detail: string }
);

/** What a person must look at. FOREIGN_DEVICE: a gateway spoke for a device that is not attached to it (T20). */
export type GatewayAlarm = {
  readonly kind: 'FOREIGN_DEVICE' | 'DUPLICATE_IDENTITY' | 'REVOKED_CONNECT' | 'CONNECTIONS_EXHAUSTED' | 'STRANGERS_SHED' | 'BROKER_FAULT';
  readonly at: number;
  readonly identity: Identity | null;
  readonly detail: string;
};

/** An error that ends a connection, with the reason that presence reports. */
export class Cut extends Error {
  readonly reason: PresenceReason;

  constructor(reason: PresenceReason, detail: string) {
    super(detail);
    this.name = 'Cut';
    this.reason = reason;
  }
}

/** The texts of Aedes 1.2.0 errors that have a reason of their own (lib/client.js). */
const aedesReasons: Readonly<Record<string, PresenceReason>> = {
  'drain timeout': 'SLOW_CONSUMER',
  'keep alive timeout': 'KEEP_ALIVE_TIMEOUT',
  'connect did not arrive in time': 'AUTH_ERROR',
  'Client queue limit reached': 'THROTTLED',
  'connection closed': 'CONNECTION_LOST',
};

/** Whether the client broke the protocol and can receive the reason. */
export const isProtocolError = (error: Error): boolean => error instanceof Cut || !(error.message in aedesReasons || 'code' in error);

/** The reason behind an error of the broker or the socket: what has a system code is the network, all else broke the protocol. */
export function reasonOf(error: Error): PresenceReason {
  if (error instanceof Cut) return error.reason;
  return aedesReasons[error.message] ?? ('code' in error ? 'CONNECTION_LOST' : 'FORBIDDEN');
}
