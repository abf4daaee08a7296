import { isIP } from 'node:net';
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { MqttClient } from 'mqtt';
import { fromPem } from '../../src/pki/pem.ts';
import type { Seconds } from '../../src/times.ts';
import { checkServer, type ServerTrust } from './serverCheck.ts';

/** One connection attempt and its life: TLS 1.3 with the own certificate, a pinned root and a checked server name, then MQTT 3.1.1. */
export type LinkOptions = {
  readonly host: string;
  readonly port: number;
  /** Name or address the server certificate must carry; an address only when it is the host (RFC 6066 §3). */
  readonly servername: string;
  /** PEM; `ca` is the pinned root and nothing else. Or all of it in a context, for keys that nobody may read. */
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string } | { readonly secureContext: SecureContext };
  /** What the certificate of the server is judged by, beside TLS. Default: the pinned root alone, so that its issuing CA must state its use. */
  readonly serverTrust?: (() => ServerTrust) | undefined;
  readonly clientId: string;
  readonly keepaliveSeconds: Seconds;
  readonly connectTimeoutMs: number;
  readonly will: { readonly topic: string; readonly payload: Uint8Array } | undefined;
  /** TLS session of an earlier connection. */
  readonly session: Buffer | undefined;
};

export type LinkEvents = {
  readonly onOnline: () => void;
  readonly onMessage: (topic: string, payload: Uint8Array) => void;
  /** Once, whether it was online or not. `wasSecure`: the TLS handshake was finished, so the server is the right one. */
  readonly onClosed: (error: Error, wasSecure: boolean) => void;
  readonly onSession: (session: Buffer) => void;
};

export type Link = {
  /** Resolves on PUBACK for QoS 1, when written for QoS 0; rejects when the connection is lost before. */
  publish(topic: string, payload: Uint8Array, qos: 0 | 1): Promise<void>;
  /** Says DISCONNECT when online and nothing waits for its PUBACK. */
  close(): Promise<void>;
};

/** CONNACK 5 (MQTT 3.1.1 §3.2.2.3). */
const notAuthorized = 5;

/** Whether the server has said that it does not accept the certificate. A connection that just ended, or a server that is busy, says nothing about it. */
export const isNotAuthorized = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === notAuthorized;

export function openLink(options: LinkOptions, events: LinkEvents): Link {
  const waiting = new Set<(error: Error) => void>();
  let lastError = new Error('connection lost');
  let wasSecure = false;
  const onSecure = (): void => {
    wasSecure = true;
  };
  const client = new MqttClient(() => openTls(options, events.onSession, onSecure), {
    protocolVersion: 4,
    clean: true,
    clientId: options.clientId,
    keepalive: options.keepaliveSeconds,
    connectTimeout: options.connectTimeoutMs,
    reconnectPeriod: 0,
    queueQoSZero: false,
    resubscribe: false,
    ...(options.will && {
      will: { topic: options.will.topic, payload: Buffer.from(options.will.payload), qos: 1 as const, retain: false },
    }),
  });
  client.on('connect', events.onOnline);
  client.on('message', (topic, payload) => events.onMessage(topic, new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength)));
  client.on('error', error => {
    lastError = error;
  });
  client.once('close', () => {
    client.end(true);
    for (const reject of waiting) reject(lastError);
    events.onClosed(lastError, wasSecure);
  });
  return {
    publish: (topic, payload, qos) => publish(client, waiting, topic, payload, qos),
    close: () => close(client, waiting.size === 0),
  };
}

function openTls(options: LinkOptions, onSession: (session: Buffer) => void, onSecure: () => void): TLSSocket {
  const { host, port, servername, tls, session, serverTrust = () => pinnedIn(tls) } = options;
  const connecting = connect({
    host,
    port,
    ...(!isIP(servername) && { servername }),
    ...tls,
    minVersion: 'TLSv1.3',
    // Who does not go by the clock of this machine has `checkServer` judge all that TLS would.
    rejectUnauthorized: serverTrust().byServerTime === undefined,
    ...(session && { session }),
  });
  const socket = checkServer(connecting, serverTrust);
  // Without it each exchange waits up to 40 ms (Nagle's algorithm against delayed acknowledgement).
  socket.setNoDelay(true);
  socket.on('session', onSession);
  socket.once('secureConnect', () => {
    // `checkServer` was asked before.
    if (!socket.destroyed) onSecure();
  });
  return socket;
}

const pinnedIn = (tls: LinkOptions['tls']): ServerTrust => ({
  roots: 'ca' in tls ? fromPem('CERTIFICATE', tls.ca) : [],
  bundle: undefined,
});

/** For DISCONNECT to leave and the server to close. */
const closeTimeoutMs = 1_000;

async function close(client: MqttClient, isIdle: boolean): Promise<void> {
  const timer = setTimeout(() => client.stream.destroy(), closeTimeoutMs);
  await client.endAsync(!(client.connected && isIdle));
  clearTimeout(timer);
}

function publish(client: MqttClient, waiting: Set<(error: Error) => void>, topic: string, payload: Uint8Array, qos: 0 | 1): Promise<void> {
  return new Promise((resolve, reject) => {
    waiting.add(reject);
    client.publish(topic, Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength), { qos }, error => {
      waiting.delete(reject);
      if (error) reject(error);
      else resolve();
    });
  });
}
