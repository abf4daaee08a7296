import { capability, headerBytes, requestCode, spdmError } from '../constants.ts';
import { createEventInbox, wantedOf } from '../eventInbox.ts';
import { eventsThatFit, groupsOf, noted, type Subscription, subscribed, subscribedTo, typesOf } from '../eventQueue.ts';
import {
  type DmtfEvent,
  decodeSendEvent,
  decodeSubscribeEventTypes,
  decodeSupportedEventTypes,
  type EventGroup,
  encodeEventAck,
  encodeSubscribeEventTypesAck,
  encodeSupportedEventTypes,
  type SpdmEvent,
  sendEventHeadBytes,
} from '../messages/events.ts';
import { decodeHeadOnly } from '../messages/sessionControl.ts';
import {
  bothHave,
  type Exchange,
  invalidRequest,
  type LiveSession,
  longestResponse,
  Refusal,
  type Reply,
  type ResponderSettings,
  unexpectedRequest,
} from './state.ts';

/** Events of a session (DSP0274 since 1.3). What has happened here comes to a requester that wants to know in SEND_EVENT when it asks
 *  (GET_ENCAPSULATED_REQUEST); a requester that tells of events of its own is asked there which ones it has, and sends them as requests. */

export function handleGetSupportedEventTypes({ settings, state, request }: Exchange): Reply {
  decodeHeadOnly(request, requestCode.getSupportedEventTypes, 'GET_SUPPORTED_EVENT_TYPES');
  return { message: encodeSupportedEventTypes(state.version, groupsOf(supported(settings))) };
}

/** Takes the place of what was subscribed to before. */
export function handleSubscribeEventTypes({ settings, state, request, session }: Exchange): Reply {
  const groups = decodeSubscribeEventTypes(request);
  const events = session && subscribed(supported(settings), groups, session.events);
  if (!events) throw invalidRequest();
  session.events = events;
  return { message: encodeSubscribeEventTypesAck(state.version) };
}

/** Events of the requester, once this responder has subscribed to some. */
export function handleSendEvent({ settings, state, request, session }: Exchange): Reply {
  if (!hearsOf({ settings, state })) throw new Refusal(spdmError.unsupportedRequest, requestCode.sendEvent);
  if (!session?.inbox) throw unexpectedRequest();
  session.inbox.take(decodeSendEvent(request));
  return { message: encodeEventAck(state.version) };
}

/** Whether the requester tells of events, and somebody here wants to know. */
export const hearsOf = ({ settings, state }: Pick<Exchange, 'settings' | 'state'>): boolean =>
  settings.onPeerEvent !== undefined &&
  state.version >= 0x13 &&
  ((state.requester?.flags ?? 0) & capability.event) !== 0 &&
  bothHave({ settings, state }, capability.encapsulated);

/** @param response the requester's SUPPORTED_EVENT_TYPES  @returns what to subscribe to @throws SPDM_MALFORMED, SPDM_UNEXPECTED */
export const wantedEvents = (response: Uint8Array): readonly EventGroup[] => wantedOf(decodeSupportedEventTypes(response));

/** From here on events of the requester are taken. */
export function openInbox({ settings }: Exchange, session: LiveSession): void {
  session.inbox = createEventInbox(settings.onPeerEvent!);
}

const supported = ({ eventTypes = [] }: ResponderSettings): ReadonlySet<number> => typesOf(eventTypes);

/** Of a session that is to be told of everything (SessionPolicy of KEY_EXCHANGE and PSK_EXCHANGE). @throws Refusal where there are no events */
export function subscribedToAll({ settings, state }: Pick<Exchange, 'settings' | 'state'>): Subscription {
  if (state.version < 0x13 || (settings.capabilities.flags & capability.event) === 0) throw invalidRequest();
  return subscribedTo(supported(settings));
}

/** @returns whether the requester of the session will be told */
export function noteEvent(session: LiveSession, event: DmtfEvent): boolean {
  if (session.events === undefined) return false;
  const { events, isTold } = noted(session.events, event);
  session.events = events;
  return isTold;
}

/** As many of the oldest ones as the requester takes in. */
export const eventsToSend = (exchange: Exchange, events: Subscription): readonly SpdmEvent[] =>
  eventsThatFit(events, longestResponse(exchange) - headerBytes - sendEventHeadBytes);
