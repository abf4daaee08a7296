import { setTimeout as sleep } from 'node:timers/promises';
import { NusecError } from '../../errors.ts';
import type { DownFamily } from '../../mqttTopics.ts';
import { reserveMs } from './bucket.ts';
import { cidOf, errorReply } from './errorReply.ts';
import { endGently } from './farewell.ts';
import type { Handlers, Payload, Qos, UpMessage } from './handler.ts';
import type { GatewayLimits } from './limits.ts';
import type { GatewayAlarm, PresenceReason } from './presence.ts';
import { isServerTrouble, judgeRefusal } from './refusals.ts';
import { markEnding, type Session } from './session.ts';
import { parseUpTopic, type UpTopic } from './topics.ts';

/** The parts of a PUBLISH packet that are used (MQTT 3.1.1 §3.3). */
export type Publish = { readonly topic: string; readonly payload: string | Buffer; readonly qos: number; readonly retain: boolean };

export type IngressOptions = {
  readonly handlers: Handlers;
  readonly isAttached: (gatewayId: string, uid: string) => boolean;
  readonly hasServed?: ((gatewayId: string, uid: string) => boolean) | undefined;
  readonly send: (session: Session, uid: string, family: DownFamily, payload: Payload, qos: Qos) => Promise<boolean>;
  /** A device was heard through this gateway connection. */
  readonly onHeard: (session: Session, uid: string) => void;
  readonly onAlarm: (kind: GatewayAlarm['kind'], session: Session, detail: string) => void;
  /** A message could not be taken through no fault of the client. */
  readonly onServerTrouble: (session: Session) => void;
  readonly limits: GatewayLimits;
  readonly now: () => number;
};

export type Ingress = ReturnType<typeof createIngress>;

type Outcome = 'acknowledge' | 'acknowledge and end' | 'drop';

/** From a PUBLISH packet to its PUBACK: rate, rights, handler, then `acknowledge`; in order per device, PUBACKs in order per connection.
 *  Delaying `acknowledge` also delays the next read of the socket: that is how a flood is slowed down. */
export function createIngress(options: IngressOptions) {
  return {
    receive(session: Session, packet: Publish, acknowledge: () => void): void {
      const now = options.now();
      const waitMs = Math.max(reserveMs(session.publishBucket, now), reserveMs(session.byteBucket, now, packet.payload.length));
      session.enqueue(
        laneOf(session, packet),
        async () => {
          await session.online.promise;
          // Not longer than it was said, though the clock may be set back meanwhile.
          const delayMs = Math.min(waitMs, now + waitMs - options.now());
          if (delayMs > 0) await sleep(delayMs);
          return session.ending === undefined ? process(options, session, packet) : 'drop';
        },
        outcome => {
          if (outcome !== 'drop') acknowledge();
          // The PUBACK is written first.
          if (outcome === 'acknowledge and end') setImmediate(endGently, session.socket, options.limits.closeGraceMs);
        },
      );
    },
    /** The last will of a device whose connection broke: nobody is left to answer. */
    async lastWill(session: Session, packet: Publish): Promise<void> {
      if (session.ending !== undefined && silentEndings.has(session.ending.reason)) return;
      await handle(options, session, packet).catch(() => undefined);
    },
  };
}

/** The server ended these connections itself and knows why. */
const silentEndings: ReadonlySet<PresenceReason> = new Set(['REVOKED', 'SERVER_SHUTDOWN', 'DUPLICATE_CLIENTID']);

/** Messages of different devices behind one gateway do not wait for each other. */
function laneOf(session: Session, packet: Publish): string {
  return session.identity.kind === 'device' ? '' : (packet.topic.split('/')[3] ?? '');
}

async function process(options: IngressOptions, session: Session, packet: Publish): Promise<Outcome> {
  try {
    await handle(options, session, packet);
    return session.ending === undefined ? 'acknowledge' : 'drop';
  } catch (error) {
    return refuse(options, session, packet, error);
  }
}

async function handle(options: IngressOptions, session: Session, packet: Publish): Promise<void> {
  if (packet.retain) throw new NusecError('TOPIC_FORBIDDEN', 'no retained messages');
  const topic = parseUpTopic(session.identity, packet.topic);
  assertAttached(options, session, topic);
  const handler = options.handlers[topic.family];
  if (handler === undefined) throw new NusecError('TOPIC_FORBIDDEN', `nothing is served on ${topic.family}`);
  await withTimeout(handler(messageFor(options, session, topic, packet)), options.limits.handlerTimeoutMs);
}

/** A gateway speaks only for devices that an event attached to it (T20). What it was asked before a device was detached it may still answer: an
 *  answer that nobody waits for is dropped. */
function assertAttached({ isAttached, hasServed, onAlarm, onHeard }: IngressOptions, session: Session, { uid, family }: UpTopic): void {
  if (session.identity.kind !== 'gateway') return;
  const { gatewayId } = session.identity;
  if (!isAttached(gatewayId, uid)) {
    const wasAttached = hasServed?.(gatewayId, uid) === true;
    if (wasAttached && family === 'evidence') return;
    if (!wasAttached) onAlarm('FOREIGN_DEVICE', session, `gateway ${gatewayId} spoke for ${uid}`);
    throw new NusecError('FORBIDDEN', 'device is not attached to this gateway');
  }
  onHeard(session, uid);
}

function messageFor(options: IngressOptions, session: Session, topic: UpTopic, packet: Publish): UpMessage {
  return {
    ...topic,
    identity: session.identity,
    payload: bytesOf(packet),
    reply: (family, payload, qos = 1) => options.send(session, topic.uid, family, payload, qos),
  };
}

/** Says on `…/dn/err` why a message is refused, once for each cause and minute, and judges what becomes of it. */
async function refuse(options: IngressOptions, session: Session, packet: Publish, error: unknown): Promise<Outcome> {
  if (session.ending !== undefined) return 'drop';
  const verdict = judgeRefusal(error, session.identity.kind === 'gateway');
  const decided = error instanceof NusecError;
  const sent = answer(options, session, packet, error);
  if (verdict !== 'drop') markEnding(session, reasonFor(error), decided ? `${error.code}: ${error.message}` : 'handler failed');
  if (isServerTrouble(error)) options.onServerTrouble(session);
  await sent;
  if (verdict === 'drop') return 'acknowledge';
  if (verdict === 'end') return 'acknowledge and end';
  endGently(session.socket, options.limits.closeGraceMs);
  return 'drop';
}

/** A fault of the server is never charged to the client. */
function reasonFor(error: unknown): PresenceReason {
  if (isServerTrouble(error)) return 'SERVER_FAULT';
  return (error as NusecError).code === 'RATE_LIMITED' ? 'THROTTLED' : 'FORBIDDEN';
}

async function answer(options: IngressOptions, session: Session, packet: Publish, error: unknown): Promise<unknown> {
  const request = bytesOf(packet);
  const code = error instanceof NusecError ? error.code : 'INTERNAL';
  if (!session.answered.isDue(`${packet.topic} ${code} ${cidOf(request)}`, options.now())) return false;
  return options.send(session, deviceNamedIn(session, packet), 'err', errorReply(request, error), 1);
}

/** Which device an error is about; an error without a device goes to the gateway itself ('' → `n1/g/{gateway}/dn/err`). */
function deviceNamedIn(session: Session, packet: Publish): string {
  if (session.identity.kind === 'device') return session.identity.uid;
  const uid = packet.topic.split('/')[3] ?? '';
  return /^[0-9a-f]{32}$/.test(uid) ? uid : '';
}

async function withTimeout(work: Promise<void>, timeoutMs: number): Promise<void> {
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error('handler timed out')), timeoutMs);
  try {
    await Promise.race([work, timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function bytesOf(packet: Publish): Uint8Array {
  const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload;
  return new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
}
