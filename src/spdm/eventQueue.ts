import {
  type DmtfEvent,
  dmtfEvent,
  dmtfGroupVersion,
  dmtfRegistry,
  type EventGroup,
  encodeDmtfEvent,
  eventBytes,
  maxEventsOfMessage,
  type SpdmEvent,
} from './messages/events.ts';

/** The end of a session that tells of events (DSP0274 since 1.3, Event Notifier): what the other end wants to know, and what waits for it.
 *  Either role can be that end. */

/** Events that wait for one session; what comes then is lost, and EventLost says so. */
const maxQueuedEvents = 64;
const noVendor = new Uint8Array();

/** What a session is told of. */
export type Subscription = {
  readonly types: ReadonlySet<number>;
  /** Happened, and not acknowledged. */
  readonly queue: readonly SpdmEvent[];
  readonly nextId: number;
  readonly lastAcknowledged?: number;
  /** The last one for which there was no room. */
  readonly lastLost?: number;
};

/** Of a session in which nothing has happened yet. */
export const subscribedTo = (types: ReadonlySet<number>): Subscription => ({ types, queue: [], nextId: 0 });

/** @param kinds that can happen; EventLost always can */
export const typesOf = (kinds: readonly DmtfEvent['kind'][]): ReadonlySet<number> =>
  new Set<number>([dmtfEvent.eventLost, ...kinds.map(kind => dmtfEvent[kind])]);

/** SupportedEventGroupsList: one group, of DMTF. */
export function groupsOf(types: ReadonlySet<number>): readonly EventGroup[] {
  const sorted = [...types].sort((a, b) => a - b);
  return [{ registry: dmtfRegistry, vendorId: noVendor, version: dmtfGroupVersion, all: false, types: sorted }];
}

/** Takes the place of what was subscribed to before; events that wait stay.
 *  @param known from `typesOf`  @returns undefined when a group or a type is not known */
export function subscribed(
  known: ReadonlySet<number>,
  groups: readonly EventGroup[],
  before: Subscription | undefined,
): Subscription | undefined {
  const [group, ...others] = groups;
  const isKnown = group === undefined || (group.registry === dmtfRegistry && group.version === dmtfGroupVersion);
  if (!isKnown || others.length > 0 || group?.types.some(type => !known.has(type))) return undefined;
  const types = group?.all === true ? known : new Set(group?.types);
  return before === undefined ? subscribedTo(types) : { ...before, types };
}

/** @returns the subscription with the event, and whether it will be told */
export function noted(events: Subscription, event: DmtfEvent): { readonly events: Subscription; readonly isTold: boolean } {
  if (!events.types.has(dmtfEvent[event.kind])) return { events, isTold: false };
  const id = events.nextId;
  // What follows a lost one is lost too: the ids of one message have no gap.
  if (events.queue.length >= maxQueuedEvents || events.lastLost !== undefined)
    return { events: { ...events, nextId: id + 1, lastLost: id }, isTold: false };
  return { events: { ...events, nextId: id + 1, queue: [...events.queue, eventOf(id, event)] }, isTold: true };
}

const eventOf = (id: number, event: DmtfEvent): SpdmEvent => ({
  id,
  registry: dmtfRegistry,
  vendorId: noVendor,
  ...encodeDmtfEvent(event),
});

/** As many of the oldest ones as one message has room for.
 *  @param room bytes for events, without the head of SEND_EVENT  @returns none where not even one fits */
export function eventsThatFit({ queue }: Subscription, room: number): readonly SpdmEvent[] {
  let left = room;
  const count = queue.findIndex(event => {
    left -= eventBytes(event);
    return left < 0;
  });
  return queue.slice(0, Math.min(count < 0 ? queue.length : count, maxEventsOfMessage));
}

/** After these were acknowledged: what was lost for want of room is said when there is room again. */
export function acknowledged(events: Subscription, sent: readonly SpdmEvent[]): Subscription {
  const { lastLost, ...rest } = { ...events, queue: events.queue.slice(sent.length) };
  const lastAcknowledged = sent.at(-1)?.id ?? events.lastAcknowledged ?? 0;
  const after = { ...rest, lastAcknowledged };
  if (lastLost === undefined) return after;
  if (rest.queue.length > 0) return { ...after, lastLost };
  if (!events.types.has(dmtfEvent.eventLost)) return after;
  const lost = eventOf(events.nextId, { kind: 'eventLost', lastAcknowledged, lastLost });
  return { ...after, nextId: events.nextId + 1, queue: [lost] };
}
