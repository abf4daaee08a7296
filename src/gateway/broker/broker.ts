import type { EventEmitter } from 'node:events';
import type { Server } from 'node:https';
import { Aedes } from 'aedes';
import { type Own, opening } from '../../closing.ts';
import { type DownFamily, gatewayClientId } from '../../mqttTopics.ts';
import { createAdmission } from './admission.ts';
import { createKeyedBuckets } from './bucket.ts';
import { send } from './egress.ts';
import { createEmitter } from './emitter.ts';
import { cut } from './farewell.ts';
import type { Handlers, Payload, Qos } from './handler.ts';
import { plugIn } from './hooks.ts';
import { type CheckClient, type Identity, peerOf } from './identity.ts';
import { createIngress } from './ingress.ts';
import { defaultLimits, type GatewayLimits } from './limits.ts';
import { maxTopicLevels } from './parserGuard.ts';
import type { GatewayAlarm, PresenceEvent, PresenceReason } from './presence.ts';
import { type CertificateOf, listenBehindProxy } from './proxyListener.ts';
import { assertInternals } from './selfTest.ts';
import { markEnding, type Session } from './session.ts';
import { createSessions } from './sessions.ts';
import { createTlsListener, type TlsSettings } from './tlsListener.ts';
import { downTopic } from './topics.ts';
import { serveWebSockets } from './webSocket.ts';

export type BrokerOptions = {
  readonly tls: TlsSettings;
  readonly trust: { readonly checkClient: CheckClient };
  readonly isRevoked: (serialHex: string) => boolean;
  /** The OCSP response for a certificate of this server, for clients that ask in the handshake. @param leaf DER */
  readonly staple?: (leaf: Uint8Array) => Promise<Uint8Array | undefined>;
  /** Whether another process has this client connected. Default: there is no other process. */
  readonly isElsewhere?: (clientId: string) => boolean;
  /** Whether an event attached the device to the gateway. */
  readonly isAttached: (gatewayId: string, uid: string) => boolean;
  /** Whether it was until a moment ago. Default: it was not. */
  readonly hasServed?: (gatewayId: string, uid: string) => boolean;
  readonly handlers: Handlers;
  readonly onPresence: (event: PresenceEvent) => void;
  readonly onAlarm: (alarm: GatewayAlarm) => void;
  readonly limits?: Partial<GatewayLimits>;
  /** Unix time in ms. */
  readonly now: () => number;
};

export type Broker = Awaited<ReturnType<typeof createBroker>>;

/** The MQTT broker of devices and gateways: Aedes over TLS 1.3 with certificates on both sides (RULE-9), see docs/mqtt.md.
 *  Upward messages go to `handlers` and to nobody else; downward messages go out through `publish`.
 *  @throws Error when the installed Aedes is not the one the limits were made for */
export function createBroker(options: BrokerOptions) {
  return opening(own => openBroker(own, options));
}

async function openBroker(own: Own, options: BrokerOptions) {
  const limits: GatewayLimits = { ...defaultLimits, ...options.limits };
  const alarms = createKeyedBuckets(limits.alarmsPerMinute, limits.alarmBurst, limits.maxTrackedIdentities);
  const alarm = (kind: GatewayAlarm['kind'], identity: Identity | null, detail: string): void => {
    const at = options.now();
    if (alarms.tryTake(`${kind}|${identity?.serialHex}`, at)) options.onAlarm({ kind, at, identity, detail });
  };
  const sessions = createSessions(options.isAttached);
  const aedes = new Aedes({
    mq: createEmitter(),
    concurrency: 0,
    connectTimeout: limits.connectTimeoutMs,
    drainTimeout: limits.drainTimeoutMs,
    maxTopicLevels,
  });
  own('MQTT protocol', { close: () => new Promise<void>(resolve => aedes.close(resolve)) });
  const admission = createAdmission({ isElsewhere: () => false, ...options, limits, onAlarm: alarm }, sessions, aedes.handle);
  const ingress = createIngress({
    ...options,
    limits,
    send: sendTo,
    onHeard: sessions.heard,
    onServerTrouble: admission.giveBack,
    onAlarm: (kind, session, detail) => alarm(kind, session.identity, detail),
  });
  plugIn(aedes, sessions, admission, ingress, options.now);
  (aedes as EventEmitter).on('error', (error: Error) => alarm('BROKER_FAULT', null, error.message));
  await aedes.listen();
  assertInternals(aedes);

  const edges = {
    onRefused: (remoteAddress: string, detail: string): void => admission.refused(remoteAddress, null, 'AUTH_ERROR', detail),
    onFull: (): void => alarm('CONNECTIONS_EXHAUSTED', null, `more than ${limits.maxConnections} connections`),
  };
  let behindProxy: Awaited<ReturnType<typeof listenBehindProxy>> | undefined;
  const listener = createTlsListener({
    ...edges,
    tls: options.tls,
    limits,
    onSecure: socket => admission.onPeer(peerOf(socket), socket),
    staple: options.staple ?? (async () => undefined),
    onCrowded: () => alarm('STRANGERS_SHED', null, `more than ${limits.maxStrangers} connections that have not said who they are`),
  });
  own('MQTT port', listener);
  own('MQTT behind a proxy', { close: () => behindProxy?.close() });
  own('MQTT sessions', {
    close() {
      for (const session of sessions.all()) markEnding(session, 'SERVER_SHUTDOWN', '');
    },
  });

  return {
    listen: listener.listen,
    /** Takes MQTT over WebSocket on a server that asks for client certificates. */
    serveWebSockets: (server: Server) => serveWebSockets(server, limits, (tls, stream) => admission.onPeer(peerOf(tls), stream)),
    /** Takes connections of a TLS terminator of this machine. @param path of a socket in a folder that only our user enters
     *  @throws NusecError as listenBehindProxy */
    async listenBehindProxy(path: string, certificateOf: CertificateOf): Promise<void> {
      const { onRefused, onFull } = edges;
      behindProxy = await listenBehindProxy(path, { limits, certificateOf, onPeer: admission.onPeer, onRefused, onFull });
    },
    setTicketKeys: listener.setTicketKeys,
    /** Another server certificate or other client CAs, for the handshakes to come; see `trustChanged` for those that were. */
    setTls: listener.setTls,
    /** Sends to a device, straight or through its gateway. @returns false when it is not connected or was cut; the event store is the queue */
    async publish(uid: string, family: DownFamily, payload: Uint8Array, qos: Qos = 1): Promise<boolean> {
      const session = sessions.towards(uid);
      return session === undefined ? false : sendTo(session, uid, family, payload, qos);
    },
    /** Sends to a gateway itself. @returns false when it is not connected or was cut */
    async publishToGateway(gatewayId: string, family: DownFamily, payload: Uint8Array): Promise<boolean> {
      const session = sessions.online(gatewayClientId(gatewayId));
      return session === undefined ? false : sendTo(session, '', family, payload, 1);
    },
    isConnected: (uid: string): boolean => sessions.towards(uid) !== undefined,
    /** Whether this very client is connected: a device by its own connection (client id = uid), or a gateway (`gateway-{id}`). */
    isOnline: (clientId: string): boolean => sessions.online(clientId) !== undefined,
    /** Ends the connections of a certificate immediately, those before CONNECT too (T23). @returns how many */
    disconnectBySerial: (serialHex: string, reason: PresenceReason = 'REVOKED'): number => cutAll(sessions.withSerial(serialHex), reason),
    /** Ends the connections of a device (client id = uid) or of a gateway, those before CONNECT too. @returns how many */
    disconnect: (clientId: string, reason: PresenceReason): number => cutAll(sessions.withClientId(clientId), reason),
    /** The client has connected to another process. */
    connectedElsewhere: admission.connectedElsewhere,
    /** Judges every connection again, after a CA was retired or compromised. */
    trustChanged: admission.recheck,
    stats() {
      const figures = listener.stats();
      return { ...figures, connections: figures.connections + (behindProxy?.count() ?? 0), online: sessions.onlineCount() };
    },
  };
}

const sendTo = (session: Session, uid: string, family: DownFamily, payload: Payload, qos: Qos): Promise<boolean> =>
  send(session, downTopic(session.identity, uid, family), payload, qos);

function cutAll(sessions: readonly Session[], reason: PresenceReason): number {
  for (const session of sessions) cut(session, reason, 'disconnected by the server');
  return sessions.length;
}
