import { type Broker, type BrokerOptions, createBroker } from '../../../src/gateway/broker/broker.ts';
import type { Handler } from '../../../src/gateway/broker/handler.ts';
import type { GatewayLimits } from '../../../src/gateway/broker/limits.ts';
import type { GatewayAlarm, PresenceEvent } from '../../../src/gateway/broker/presence.ts';
import { pollMs } from '../../support/limits.ts';
import type { TestPki } from '../certificates.ts';

export type Harness = {
  readonly broker: Broker;
  readonly port: number;
  readonly presence: PresenceEvent[];
  readonly alarms: GatewayAlarm[];
  readonly revoked: Set<string>;
  /** `gatewayId/uid` */
  readonly attached: Set<string>;
};

type Overrides = Omit<Partial<BrokerOptions>, 'limits'> & { readonly limits?: Partial<GatewayLimits> };

/** Answers each hello with its own payload on dn/order. */
export const echo: Handler = async message => {
  await message.reply('order', message.payload);
};

/** A broker on a free port of 127.0.0.1 that records what it tells. */
export async function startBroker(pki: TestPki, overrides: Overrides = {}): Promise<Harness> {
  const presence: PresenceEvent[] = [];
  const alarms: GatewayAlarm[] = [];
  const revoked = new Set<string>();
  const attached = new Set<string>();
  const broker = await createBroker({
    tls: { key: pki.server.key, cert: pki.server.cert, ca: pki.rootPem },
    trust: { checkClient: pki.checkClient },
    isRevoked: serialHex => revoked.has(serialHex),
    isAttached: (gatewayId, uid) => attached.has(`${gatewayId}/${uid}`),
    handlers: { hello: echo },
    onPresence: event => presence.push(event),
    onAlarm: alarm => alarms.push(alarm),
    now: Date.now,
    ...overrides,
    limits: { connectBurst: 10_000, takeoverBurst: 10_000, closeGraceMs: 200, ...overrides.limits },
  });
  const port = await broker.listen({ port: 0, host: '127.0.0.1' });
  return { broker, port, presence, alarms, revoked, attached };
}

/** Refusals and ends as `reason: detail`, for messages of failed tests and exact checks. */
export const endings = (harness: Harness): string[] =>
  harness.presence.flatMap(event => (event.state === 'connected' ? [] : [`${event.reason}: ${event.detail}`]));

/** Polls until the condition holds. */
export async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + pollMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error('condition not reached in time');
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

/** The reasons of ended and refused connections, in order. */
export const reasons = (harness: Harness): string[] =>
  harness.presence.flatMap(event => (event.state === 'connected' ? [] : [event.reason]));

export const uidOf = (number: number): string => number.toString(16).padStart(32, '0');
