import { lru } from '../../lru.ts';
import { minuteMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';

/** Who connects over MQTT, who leaves, and who is refused, with the reason: telemetry, kept in memory and bounded, and no event of the log. Each
 *  process knows what all have seen. A restart forgets it. */

/** What happened to a connection. */
export type PresenceNote = {
  /** Unix ms */
  readonly atMs: number;
  readonly state: 'connected' | 'disconnected' | 'refused';
  /** The uid of a device, `gateway-{id}`; null when the certificate was not accepted. */
  readonly clientId: string | null;
  readonly address: string;
  /** A stable word, see docs/mqtt.md; undefined when it connected. */
  readonly reason?: string;
  readonly detail?: string;
};

/** What is known of one client. The newest note comes first. */
export type ClientPresence = { readonly connects: number; readonly refusals: number; readonly recent: readonly PresenceNote[] };
export type AddressPresence = {
  readonly address: string;
  readonly connects: number;
  readonly refusals: number;
  readonly lastMs: number;
  /** Of the newest refusal. */
  readonly lastReason?: string;
};

/** How full the port of this process is. */
export type PortFigures = {
  readonly connections: number;
  readonly online: number;
  readonly handshakes: number;
  readonly resumed: number;
  readonly handshakesInFlight: number;
  readonly handshakesWaiting: number;
  readonly silentConnections: number;
};

export type Presence = {
  note(note: PresenceNote): void;
  ofClient(clientId: string): ClientPresence | undefined;
  /** The newest first. @param filter what a refusal must be like */
  refusals(
    limit: number,
    filter?: { readonly address?: string | undefined; readonly reason?: string | undefined },
  ): readonly PresenceNote[];
  /** Those with the most refusals first. */
  addresses(limit: number): readonly AddressPresence[];
  /** How often each thing has happened, in all processes since this one started. */
  counts(): readonly { readonly state: PresenceNote['state']; readonly reason: string; readonly count: number }[];
  /** Undefined before the port is open. */
  port(): PortFigures | undefined;
  watchPort(figures: () => PortFigures): void;
  close(): void;
};

/** To the other server processes. */
type Notices = {
  notify(topic: string, value: unknown): void;
  onNotice<Value>(topic: string, listener: (value: Value) => void): void;
};

const maxClients = 40_000;
const maxAddresses = 10_000;
const notesPerClient = 8;
const maxRefusals = 2_000;
const maxDetailChars = 200;
/** Notes go to the other processes together. */
const flushMs = 50;
const maxUnsent = 1_000;
const topic = 'presence';

/** Refusals in a minute above which somebody gets to know. */
export const refusalsPerMinute = 300;

type Client = { connects: number; refusals: number; recent: PresenceNote[] };
type Address = { connects: number; refusals: number; lastMs: number; lastReason?: string | undefined };

export function createPresence(alarms: Alarms, notices: Notices): Presence {
  const clients = lru<Client>(maxClients);
  const addresses = lru<Address>(maxAddresses);
  const refusals: PresenceNote[] = [];
  const counts = new Map<string, { state: PresenceNote['state']; reason: string; count: number }>();
  const rate = createRate();
  let unsent: PresenceNote[] = [];
  let figures: (() => PortFigures) | undefined;

  const take = (note: PresenceNote): void => {
    const { state, clientId, address, reason = '' } = note;
    const key = `${state} ${reason}`;
    const counted = counts.get(key) ?? { state, reason, count: 0 };
    counted.count += 1;
    counts.set(key, counted);
    if (clientId !== null) noteClient(clients, clientId, note);
    if (state !== 'disconnected') noteAddress(addresses, address, note);
    if (state !== 'refused') return;
    refusals.push(note);
    if (refusals.length > 2 * maxRefusals) refusals.splice(0, maxRefusals);
  };
  const flush = (): void => {
    if (unsent.length > 0) notices.notify(topic, unsent);
    unsent = [];
  };
  const timer = setInterval(flush, flushMs).unref();
  notices.onNotice<readonly PresenceNote[]>(topic, notes => {
    for (const note of notes) take(note);
  });

  return {
    note(given) {
      const note = given.detail === undefined ? given : { ...given, detail: given.detail.slice(0, maxDetailChars) };
      take(note);
      // Of a flood the others need not know each; who was there they do.
      if (unsent.length < maxUnsent || note.state !== 'refused') unsent.push(note);
      if (note.state !== 'refused' || !rate.isHigh(note)) return;
      const detail = `more than ${refusalsPerMinute} refusals in a minute, at last from ${note.address}: ${note.reason}`;
      alarms.raise({ code: 'MANY_REFUSALS', subject: 'mqtt', detail }).catch(() => undefined);
    },
    ofClient: clientId => clients.get(clientId),
    refusals(limit, { address, reason } = {}) {
      const fits = (note: PresenceNote): boolean =>
        (address === undefined || note.address === address) && (reason === undefined || note.reason === reason);
      return refusals.slice(-maxRefusals).filter(fits).slice(-limit).toReversed();
    },
    addresses: limit =>
      addresses
        .entries()
        .map(([address, { lastReason, ...rest }]) => ({ address, ...rest, ...(lastReason !== undefined && { lastReason }) }))
        .toSorted((one, other) => other.refusals - one.refusals || other.lastMs - one.lastMs)
        .slice(0, limit),
    counts: () => [...counts.values()],
    port: () => figures?.(),
    watchPort(given) {
      figures = given;
    },
    close() {
      clearInterval(timer);
      flush();
    },
  };
}

function noteClient(clients: ReturnType<typeof lru<Client>>, clientId: string, note: PresenceNote): void {
  const client = clients.get(clientId) ?? { connects: 0, refusals: 0, recent: [] };
  if (note.state === 'connected') client.connects += 1;
  if (note.state === 'refused') client.refusals += 1;
  client.recent = [note, ...client.recent.slice(0, notesPerClient - 1)];
  clients.set(clientId, client);
}

function noteAddress(addresses: ReturnType<typeof lru<Address>>, name: string, { state, atMs, reason }: PresenceNote): void {
  const address = addresses.get(name) ?? { connects: 0, refusals: 0, lastMs: 0 };
  if (state === 'connected') address.connects += 1;
  else {
    address.refusals += 1;
    address.lastReason = reason;
  }
  address.lastMs = atMs;
  addresses.set(name, address);
}

/** Refusals of the minute. */
function createRate() {
  let [sinceMs, count] = [0, 0];
  return {
    /** Once for each so many. */
    isHigh({ atMs }: PresenceNote): boolean {
      if (atMs - sinceMs >= minuteMs) [sinceMs, count] = [atMs, 0];
      count += 1;
      return count > refusalsPerMinute && count % refusalsPerMinute === 1;
    },
  };
}
