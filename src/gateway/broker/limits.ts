import { maxPayloadBytes } from '../../mqttTopics.ts';
import type { Seconds } from '../../times.ts';

/** What one connection may use. A gateway speaks for many devices and gets more. */
export type ConnectionShare = {
  readonly publishPerSecond: number;
  readonly publishBurst: number;
  /** Handed to a connection and not yet taken by its socket; beyond it the client counts as frozen. */
  readonly maxOutstandingBytes: number;
};

/** Every bound of the broker. A limit ends in its unit; `createBroker` takes a part of them and keeps the rest. */
export type GatewayLimits = {
  readonly maxConnections: number;
  /** Connections whose TLS handshake is not over; beyond it the oldest of the fullest address goes. */
  readonly maxStrangers: number;
  readonly maxHandshakesInFlight: number;
  /** A handshake gives its place back after this time even when unfinished, so that stalled ones cannot keep others out. */
  readonly handshakePlaceMs: number;
  readonly handshakeTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** Connections that wait for their CONNECT only to be refused; more are ended without a word. */
  readonly maxRefusing: number;
  readonly ticketLifetimeSeconds: Seconds;
  readonly maxPacketBytesBeforeConnack: number;
  readonly maxPacketBytes: number;
  readonly maxFiltersPerSubscribe: number;
  readonly maxKeepaliveSeconds: Seconds;
  /** Packets other than PUBLISH: pings, acknowledgements, subscriptions. */
  readonly controlPacketsPerSecond: number;
  readonly controlPacketBurst: number;
  readonly drainTimeoutMs: number;
  readonly handlerTimeoutMs: number;
  /** For the last message, `…/dn/err`, to reach a client that is being cut. */
  readonly closeGraceMs: number;
  readonly connectsPerMinute: number;
  readonly connectBurst: number;
  /** One connection pushing out another of the same identity: more than this is two chips with one key. */
  readonly takeoversPerMinute: number;
  readonly takeoverBurst: number;
  /** Per kind and identity: an attacker must not be able to flood the readers of alarms. */
  readonly alarmsPerMinute: number;
  readonly alarmBurst: number;
  readonly maxTrackedIdentities: number;
  readonly maxCachedCertificates: number;
  /** Payloads that a connection may bring; above it the server reads more slowly, so that a flood of large messages does not fill the memory. */
  readonly deviceInboundBytesPerSecond: number;
  readonly gatewayInboundBytesPerSecond: number;
  readonly inboundBurstBytes: number;
  readonly device: ConnectionShare;
  readonly gateway: ConnectionShare;
};

const topicAllowanceBytes = 512;
const MiB = 1024 * 1024;

export const defaultLimits: GatewayLimits = {
  maxConnections: 20_000,
  maxStrangers: 8_000,
  maxHandshakesInFlight: 64,
  handshakePlaceMs: 500,
  handshakeTimeoutMs: 8_000,
  connectTimeoutMs: 8_000,
  maxRefusing: 500,
  ticketLifetimeSeconds: 12 * 3600,
  maxPacketBytesBeforeConnack: 1024,
  maxPacketBytes: maxPayloadBytes + topicAllowanceBytes,
  maxFiltersPerSubscribe: 8,
  maxKeepaliveSeconds: 300,
  controlPacketsPerSecond: 2_000,
  controlPacketBurst: 4_000,
  drainTimeoutMs: 10_000,
  handlerTimeoutMs: 30_000,
  closeGraceMs: 1_000,
  connectsPerMinute: 20,
  connectBurst: 20,
  takeoversPerMinute: 3,
  takeoverBurst: 5,
  alarmsPerMinute: 1,
  alarmBurst: 5,
  maxTrackedIdentities: 200_000,
  maxCachedCertificates: 20_000,
  deviceInboundBytesPerSecond: MiB,
  gatewayInboundBytesPerSecond: 32 * MiB,
  inboundBurstBytes: 2 * MiB,
  device: { publishPerSecond: 500, publishBurst: 1_000, maxOutstandingBytes: 2 * MiB },
  gateway: { publishPerSecond: 5_000, publishBurst: 10_000, maxOutstandingBytes: 16 * MiB },
};
