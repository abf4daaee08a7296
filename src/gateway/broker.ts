import type { EventEmitter } from 'node:events';
import { Aedes } from 'aedes';
import type { DownFamily } from '../mqttTopics.ts';
import { createAdmission } from './admission.ts';
import { reserveMs } from './bucket.ts';
import { send } from './egress.ts';
import { createEmitter } from './emitter.ts';
import type { Handlers, Qos } from './handler.ts';
import type { CheckClient, Identity } from './identity.ts';
import { createIngress } from './ingress.ts';
import { assertInternals } from './internals.ts';
import { defaultLimits, type GatewayLimits } from './limits.ts';
import { type GatewayAlarm, type PresenceEvent, type PresenceReason, reasonOf } from './presence.ts';
import { cut, markEnding, type Session } from './session.ts';
import { createSessions, type Sessions } from './sessions.ts';
import { createTlsListener, type TlsSettings } from './tlsListener.ts';
import { downTopic } from './topics.ts';

export type BrokerOptions = {
  readonly tls: TlsSettings;
  readonly trust: { readonly checkClient: CheckClient };
  readonly isRevoked: (serialHex: string) => boolean;
  /** Whether an event attached the device to the gateway. */
  readonly isAttached: (gatewayId: string, uid: string) => boolean;
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
export async function createBroker(options: BrokerOptions) {
  const limits: GatewayLimits = { ...defaultLimits, ...options.limits };
  const alarm = (kind: GatewayAlarm['kind'], identity: Identity | null, detail: string): void =>
    options.onAlarm({ kind, at: options.now(), identity, detail });
  const sessions = createSessions(options.isAttached);
  const aedes = new Aedes({
    mq: createEmitter(),
    concurrency: 0,
    connectTimeout: limits.connectTimeoutMs,
    drainTimeout: limits.drainTimeoutMs,
    maxTopicLevels: limits.maxTopicLevels,
  });
  const admission = createAdmission({ ...options, limits, onAlarm: alarm }, sessions, aedes.handle);
  const ingress = createIngress({
    ...options,
    limits,
    send: sendTo,
    onHeard: sessions.heard,
    onAlarm: (kind, session, detail) => alarm(kind, session.identity, detail),
  });
  plugIn(aedes, sessions, admission, ingress, { limits, now: options.now });
  (aedes as EventEmitter).on('error', (error: Error) => alarm('BROKER_FAULT', null, error.message));
  await aedes.listen();
  assertInternals(aedes);

  const listener = createTlsListener({
    tls: options.tls,
    limits,
    onSecure: admission.onSecure,
    onRefused: (remoteAddress, detail) => admission.refused(remoteAddress, null, 'AUTH_ERROR', detail),
    onFull: () => alarm('CONNECTIONS_EXHAUSTED', null, `more than ${limits.maxConnections} connections`),
  });

  return {
    listen: listener.listen,
    port: listener.port,
    setTicketKeys: listener.setTicketKeys,
    /** Sends to a device, straight or through its gateway. @returns false when it is not connected or was cut; the event store is the queue */
    async publish(uid: string, family: DownFamily, payload: Uint8Array, qos: Qos = 1): Promise<boolean> {
      const session = sessions.towards(uid);
      return session === undefined ? false : sendTo(session, uid, family, payload, qos);
    },
    isConnected: (uid: string): boolean => sessions.towards(uid) !== undefined,
    /** Ends the connections of a certificate at once, those before CONNECT too (T23). @returns how many */
    disconnectBySerial: (serialHex: string, reason: PresenceReason = 'REVOKED'): number => cutAll(sessions.withSerial(serialHex), reason),
    /** Ends the connection of a device, or of a gateway by its client id. @returns how many */
    disconnect: (clientId: string, reason: PresenceReason): number => cutAll([sessions.online(clientId) ?? []].flat(), reason),
    trustChanged: admission.recheck,
    stats: () => ({ ...listener.stats(), online: sessions.onlineCount() }),
    async close(): Promise<void> {
      for (const session of sessions.all()) markEnding(session, 'SERVER_SHUTDOWN', '');
      await Promise.all([listener.close(), new Promise<void>(resolve => aedes.close(resolve))]);
    },
  };
}

type Clock = { readonly limits: GatewayLimits; readonly now: () => number };

/** The hooks of Aedes. `authorizePublish` runs before PUBACK and before routing, so that an acknowledged message is a durable one. */
function plugIn(
  aedes: Aedes,
  sessions: Sessions,
  admission: ReturnType<typeof createAdmission>,
  ingress: ReturnType<typeof createIngress>,
  { now }: Clock,
): void {
  aedes.preConnect = (client, packet, done) => {
    const session = sessions.of(client);
    if (session !== undefined) admission.onConnect(session, packet);
    done(null, session !== undefined);
  };
  aedes.authenticate = (client, _username, _password, done) => admission.authenticate(sessions.of(client) as Session, done);
  aedes.authorizeSubscribe = (client, subscription, done) => {
    const session = sessions.of(client) as Session;
    // A connection gets everything below its prefix without asking; asking for exactly that is granted for clients that insist.
    // Anything else is 0x80 in SUBACK (MQTT 3.1.1 §3.9.3). Each filter costs a token like a PUBLISH.
    const granted = subscription.topic === `${session.downPrefix}#` ? subscription : null;
    setTimeout(done, reserveMs(session.publishBucket, now()), null, granted);
  };
  aedes.authorizeForward = (client, packet) => (packet.topic.startsWith(sessions.of(client)?.downPrefix ?? noTopic) ? packet : null);
  aedes.authorizePublish = (client, packet, done) => {
    const session = client === null ? undefined : sessions.of(client);
    // No session: a will another process left in a shared store. Its connection is not ours to speak for.
    if (session === undefined) return done(null);
    if (packet !== session.will) return ingress.receive(session, packet, () => done(null));
    done(null);
    void ingress.lastWill(session, packet);
  };
  aedes.on('clientReady', client => {
    const session = sessions.of(client);
    if (session !== undefined) admission.onReady(session);
  });
  for (const event of ['clientError', 'connectionError'] as const) {
    aedes.on(event, (client, error) => {
      const session = sessions.of(client);
      if (session !== undefined) markEnding(session, reasonOf(error), error.message);
    });
  }
}

/** No topic starts with it ([MQTT-1.5.3-2]). */
const noTopic = '\0';

const sendTo = (session: Session, uid: string, family: DownFamily, payload: Uint8Array, qos: Qos): Promise<boolean> =>
  send(session, downTopic(session.identity, uid, family), payload, qos);

function cutAll(sessions: readonly Session[], reason: PresenceReason): number {
  for (const session of sessions) cut(session, reason, 'disconnected by the server');
  return sessions.length;
}
