import { capability, headerBytes, requestCode } from '../constants.ts';
import {
  type DmtfEvent,
  decodeSubscribeEventTypes,
  dmtfEvent,
  dmtfRegistry,
  type EventGroup,
  encodeDmtfEvent,
  encodeSubscribeEventTypesAck,
  encodeSupportedEventTypes,
  eventBytes,
  maxEventsOfMessage,
  type SpdmEvent,
  sendEventHeadBytes,
} from '../messages/events.ts';
import { decodeHeadOnly } from '../messages/sessionControl.ts';
import {
  type Exchange,
  invalidRequest,
  type LiveSession,
  longestResponse,
  type Reply,
  type ResponderSettings,
  type Subscription,
} from './state.ts';

/** SUPPORTED_EVENT_TYPES and SUBSCRIBE_EVENT_TYPES_ACK (DSP0274 since 1.3), and what has happened for a requester that wants to know: it comes to it
 *  in SEND_EVENT when it asks (GET_ENCAPSULATED_REQUEST). */

/** Events that wait for one session; what comes then is lost, and EventLost says so. */
const maxQueuedEvents = 64;
const groupVersion = 1;
const noVendor = new Uint8Array();

export function handleGetSupportedEventTypes({ settings, state, request }: Exchange): Reply {
  decodeHeadOnly(request, requestCode.getSupportedEventTypes, 'GET_SUPPORTED_EVENT_TYPES');
  const types = [...supported(settings)].sort((a, b) => a - b);
  const group: EventGroup = { registry: dmtfRegistry, vendorId: noVendor, version: groupVersion, all: false, types };
  return { message: encodeSupportedEventTypes(state.version, [group]) };
}

/** Takes the place of what was subscribed to before. */
export function handleSubscribeEventTypes({ settings, state, request, session }: Exchange): Reply {
  const groups = decodeSubscribeEventTypes(request);
  const known = supported(settings);
  const [group, ...others] = groups;
  const isKnown = group === undefined || (group.registry === dmtfRegistry && group.version === groupVersion);
  if (!session || !isKnown || others.length > 0 || group?.types.some(type => !known.has(type))) throw invalidRequest();
  const types = group?.all === true ? known : new Set(group?.types);
  session.events = { ...(session.events ?? noEvents), types };
  return { message: encodeSubscribeEventTypesAck(state.version) };
}

/** EventLost can always happen. */
const supported = ({ eventTypes = [] }: ResponderSettings): ReadonlySet<number> =>
  new Set<number>([dmtfEvent.eventLost, ...eventTypes.map(kind => dmtfEvent[kind])]);

const noEvents: Subscription = { types: new Set(), queue: [], nextId: 0 };

/** Of a session that is to be told of everything (SessionPolicy of KEY_EXCHANGE and PSK_EXCHANGE). @throws Refusal where there are no events */
export function subscribedToAll({ settings, state }: Pick<Exchange, 'settings' | 'state'>): Subscription {
  if (state.version < 0x13 || (settings.capabilities.flags & capability.event) === 0) throw invalidRequest();
  return { ...noEvents, types: supported(settings) };
}

/** @returns whether the requester of the session will be told */
export function noteEvent(session: LiveSession, event: DmtfEvent): boolean {
  const { events } = session;
  if (events === undefined || !events.types.has(dmtfEvent[event.kind])) return false;
  const id = events.nextId;
  // What follows a lost one is lost too: the ids of one message have no gap.
  if (events.queue.length >= maxQueuedEvents || events.lastLost !== undefined) {
    session.events = { ...events, nextId: id + 1, lastLost: id };
    return false;
  }
  session.events = { ...events, nextId: id + 1, queue: [...events.queue, eventOf(id, event)] };
  return true;
}

const eventOf = (id: number, event: DmtfEvent): SpdmEvent => ({
  id,
  registry: dmtfRegistry,
  vendorId: noVendor,
  ...encodeDmtfEvent(event),
});

/** As many of the oldest ones as one message has room for; none where a requester takes in so little that not even one fits. */
export function eventsToSend(exchange: Exchange, { queue }: Subscription): readonly SpdmEvent[] {
  let room = longestResponse(exchange) - headerBytes - sendEventHeadBytes;
  const count = queue.findIndex(event => {
    room -= eventBytes(event);
    return room < 0;
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
