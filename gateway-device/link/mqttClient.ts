import { randomInt } from 'node:crypto';
import type { CborMap } from '../../src/cbor/value.ts';
import {
  type DownFamily,
  deviceDownPrefix,
  deviceUpPrefix,
  downFamilies,
  gatewayClientId,
  gatewayDownPrefix,
  gatewayPrefix,
  willTopic,
} from '../../src/mqttTopics.ts';
import type { Seconds } from '../../src/times.ts';
import { type BackoffLimits, defaultBackoff, reconnectDelayMs } from './backoff.ts';
import { type Link, type LinkOptions, openLink } from './mqttLink.ts';
import { type DownHandler, exchange, type MqttRequest } from './mqttRequest.ts';

export type MqttIdentity = { readonly kind: 'device'; readonly uid: string } | { readonly kind: 'gateway'; readonly gatewayId: string };

export type MqttClientOptions = Pick<LinkOptions, 'host' | 'port' | 'servername' | 'tls' | 'serverTrust'> & {
  readonly identity: MqttIdentity;
  readonly keepaliveSeconds?: Seconds;
  readonly connectTimeoutMs?: number;
  readonly backoff?: BackoffLimits;
  /** At most 128 bytes; devices only. */
  readonly will?: Uint8Array;
  /** After each CONNACK; what a device says on each connection begins here. */
  readonly onOnline?: () => void;
  /** After each connection or attempt that ended, with the reason. `isRefused`: the server was reached and gave no CONNACK. */
  readonly onOffline?: (error: Error, isRefused: boolean) => void;
  /** From 0 to below 1, for the jitter. */
  readonly random?: () => number;
};

const defaults = { keepaliveSeconds: 60, connectTimeoutMs: 10_000 } as const;
/** A cid is a u32 that starts at random, so that a restarted client does not repeat the ones of its last session. */
const firstCidBelow = 2 ** 31;

export type NusecMqttClient = ReturnType<typeof connectMqtt>;

/** Connects a device or a gateway agent and keeps it connected, with growing and random waits and TLS session resumption.
 *  Nothing is queued while offline: `publish` rejects, `request` tries again with the same cid. */
export function connectMqtt(options: MqttClientOptions) {
  const { identity, backoff = defaultBackoff, random = Math.random } = options;
  const handlers = new Map<DownFamily, Set<DownHandler>>();
  let { tls } = options;
  let state: { link: Link; onlineSince: number | undefined } | undefined;
  let online = Promise.withResolvers<void>();
  let session: Buffer | undefined;
  let attempt = 0;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  let isSwitching = false;
  let cid = randomInt(firstCidBelow);

  const open = (): void => {
    const link = openLink(
      { ...linkOptions(options), tls, session },
      {
        onSession: fresh => {
          if (state?.link === link) session = fresh;
        },
        onOnline: () => {
          if (state?.link === link) isOnline(state);
        },
        onMessage: (topic, payload) => dispatch(identity, handlers, topic, payload),
        onClosed: (error, wasSecure) => ended(link, error, wasSecure),
      },
    );
    state = { link, onlineSince: undefined };
  };
  const isOnline = (now: NonNullable<typeof state>): void => {
    now.onlineSince = performance.now();
    online.resolve();
    options.onOnline?.();
  };
  /** A link that another has followed is nobody's loss. */
  const ended = (link: Link, error: Error, wasSecure: boolean): void => {
    if (state?.link !== link) return;
    const since = state.onlineSince;
    if (since === undefined) session = undefined;
    else online = Promise.withResolvers<void>();
    attempt = since !== undefined && performance.now() - since >= backoff.stableAfterMs ? 0 : attempt + 1;
    state = undefined;
    reopenLater();
    options.onOffline?.(error, wasSecure && since === undefined);
  };
  const reopenLater = (): void => {
    if (!isClosed && !isSwitching) timer = setTimeout(open, reconnectDelayMs(attempt, random(), backoff));
  };
  /** Opens a link with another certificate beside the present one; the server ends the older of the two when the new one is accepted. */
  const openBeside = (next: typeof tls): Promise<void> => {
    const accepted = Promise.withResolvers<void>();
    let fresh: Buffer | undefined;
    const link = openLink(
      { ...linkOptions(options), tls: next, session: undefined },
      {
        onSession: ticket => {
          fresh = ticket;
          if (state?.link === link) session = ticket;
        },
        onOnline: () => {
          if (isClosed) return void link.close();
          const before = state?.link;
          tls = next;
          session = fresh;
          state = { link, onlineSince: undefined };
          isOnline(state);
          void before?.close();
          accepted.resolve();
        },
        onMessage: (topic, payload) => dispatch(identity, handlers, topic, payload),
        onClosed: (error, wasSecure) => {
          accepted.reject(error);
          ended(link, error, wasSecure);
        },
      },
    );
    return accepted.promise;
  };

  const client = {
    /** Resolves as soon as the client is online. */
    connected: (): Promise<void> => online.promise,
    isConnected: (): boolean => state?.onlineSince !== undefined,
    /** @param up family and path behind `…/up/`
     *  @returns on PUBACK: the server has stored it (QoS 1); when written (QoS 0). Rejects when offline or when the connection is lost before */
    async publish(up: string, payload: Uint8Array, { uid, qos = 1 }: { uid?: string; qos?: 0 | 1 } = {}): Promise<void> {
      if (state?.onlineSince === undefined) throw new Error('not connected');
      await state.link.publish(`${upPrefix(identity, uid)}${up}`, payload, qos);
    },
    /** @returns a function that ends it */
    on(family: DownFamily, handler: DownHandler): () => void {
      handlers.set(family, (handlers.get(family) ?? new Set()).add(handler));
      return () => handlers.get(family)?.delete(handler);
    },
    /** Sends {…fields, 0: cid} and waits for the answer with the same cid; the same bytes are sent again after a time-out or a lost connection.
     *  @throws NusecError with the code the server sent on `…/dn/err`; Error when all attempts ran out of time */
    async request(request: MqttRequest): Promise<CborMap> {
      cid += 1;
      return exchange(client, request, cid);
    },
    /** Goes over to another certificate of the same identity: connects with it, and only then leaves the connection there was.
     *  Rejects when the server does not accept it; everything is then as before. */
    async switchTls(next: typeof tls): Promise<void> {
      isSwitching = true;
      clearTimeout(timer);
      try {
        await openBeside(next);
      } finally {
        isSwitching = false;
        if (state === undefined) reopenLater();
      }
    },
    /** What the connections after this one are made with; the present one stays. */
    useTls(next: typeof tls): void {
      tls = next;
      session = undefined;
    },
    async close(): Promise<void> {
      isClosed = true;
      clearTimeout(timer);
      await state?.link.close();
    },
  };
  open();
  return client;
}

function linkOptions(options: MqttClientOptions): Omit<LinkOptions, 'session'> {
  const { host, port, servername, tls, serverTrust, identity, keepaliveSeconds, connectTimeoutMs, will } = options;
  return {
    host,
    port,
    servername,
    tls,
    serverTrust,
    clientId: identity.kind === 'device' ? identity.uid : gatewayClientId(identity.gatewayId),
    keepaliveSeconds: keepaliveSeconds ?? defaults.keepaliveSeconds,
    connectTimeoutMs: connectTimeoutMs ?? defaults.connectTimeoutMs,
    will: will && identity.kind === 'device' ? { topic: willTopic(identity.uid), payload: will } : undefined,
  };
}

function upPrefix(identity: MqttIdentity, uid: string | undefined): string {
  return identity.kind === 'device' ? deviceUpPrefix(identity.uid) : `${gatewayPrefix(identity.gatewayId)}${uid}/up/`;
}

/** Hands a message to the listener of its topic family; a message of an unknown family is ignored. */
function dispatch(
  identity: MqttIdentity,
  handlers: ReadonlyMap<DownFamily, ReadonlySet<DownHandler>>,
  topic: string,
  payload: Uint8Array,
): void {
  const prefix = identity.kind === 'device' ? deviceDownPrefix(identity.uid) : gatewayDownPrefix(identity.gatewayId);
  const levels = topic.slice(prefix.length).split('/');
  const family = downFamilies.find(known => known === levels.at(-1));
  const uid = identity.kind === 'device' ? identity.uid : levels.length > 1 ? (levels[0] ?? '') : '';
  if (family === undefined) return;
  for (const handler of handlers.get(family) ?? []) handler(payload, uid);
}
