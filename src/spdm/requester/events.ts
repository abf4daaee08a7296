import { capability, headerBytes, responseCode } from '../constants.ts';
import type { EventInbox } from '../eventInbox.ts';
import { acknowledged, eventsThatFit, groupsOf, noted, type Subscription, subscribed, typesOf } from '../eventQueue.ts';
import {
  type DmtfEvent,
  decodeSupportedEventTypes,
  type EventGroup,
  encodeGetSupportedEventTypes,
  encodeSendEvent,
  encodeSubscribeEventTypes,
  type SpdmEvent,
  sendEventHeadBytes,
} from '../messages/events.ts';
import { decodeHeadOnly } from '../messages/sessionControl.ts';
import { bothHave, type Connection, requirePeer } from './connection.ts';
import { type Asking, exchange } from './exchange.ts';

/** Events of a session (DSP0274 since 1.3), with an established session: which ones the responder has, and which ones we want; they come as answers to
 *  GET_ENCAPSULATED_REQUEST (`answerQuestions`). The other way round the responder subscribes there, and `sendEvents` tells it. */

const what = 'events';

/** Both ways of one session: where the responder's events arrive, and what we tell of. */
export type EventEnds = { readonly inbox?: EventInbox; readonly notifier?: EventNotifier };

/** @throws SPDM_UNSUPPORTED, SPDM_UNEXPECTED, SPDM_MALFORMED */
export async function getSupportedEventTypes(asking: Asking): Promise<readonly EventGroup[]> {
  const { connection } = asking;
  requirePeer(connection, capability.event, what);
  return decodeSupportedEventTypes(
    await exchange(asking, encodeGetSupportedEventTypes(connection.version), responseCode.supportedEventTypes),
  );
}

/** @param groups in place of those before; none: no events any more @throws SPDM_UNSUPPORTED (also an event that there is not), SPDM_UNEXPECTED, SPDM_MALFORMED */
export async function subscribeToEvents(asking: Asking, groups: readonly EventGroup[]): Promise<void> {
  const { connection } = asking;
  requirePeer(connection, capability.event, what);
  const answer = await exchange(asking, encodeSubscribeEventTypes(connection.version, groups), responseCode.subscribeEventTypesAck);
  decodeHeadOnly(answer, responseCode.subscribeEventTypesAck, 'SUBSCRIBE_EVENT_TYPES_ACK');
}

/** What we tell the responder of one session. */
export type EventNotifier = {
  readonly groups: readonly EventGroup[];
  /** In place of those before. @returns false when one of them is not known, and nothing changes */
  subscribe(groups: readonly EventGroup[]): boolean;
  /** Something has happened: `sendEvents` tells it. @returns false when the responder does not want to know, or too much waits */
  notify(event: DmtfEvent): boolean;
  /** The oldest ones that fit into so many bytes. */
  waiting(room: number): readonly SpdmEvent[];
  acknowledge(sent: readonly SpdmEvent[]): void;
};

/** For a requester with EVENT and ENCAP among its capabilities. @param kinds that `notify` may be called with */
export function createEventNotifier(kinds: readonly DmtfEvent['kind'][]): EventNotifier {
  const known = typesOf(kinds);
  let events: Subscription | undefined;
  return {
    groups: groupsOf(known),
    subscribe: groups => {
      const next = subscribed(known, groups, events);
      events = next ?? events;
      return next !== undefined;
    },
    notify: event => {
      if (!events) return false;
      const after = noted(events, event);
      events = after.events;
      return after.isTold;
    },
    waiting: room => (events ? eventsThatFit(events, room) : []),
    acknowledge: sent => {
      events = events && acknowledged(events, sent);
    },
  };
}

/** Tells the responder all that waits, in as many messages as it takes. What is not acknowledged waits for the next call.
 *  @returns how many events @throws SPDM_UNSUPPORTED (also a responder that takes none), SPDM_BUSY, SPDM_UNEXPECTED, SPDM_MALFORMED */
export async function sendEvents(asking: Asking, notifier: EventNotifier): Promise<number> {
  const { connection } = asking;
  const room = longestRequest(connection) - sendEventHeadBytes;
  let count = 0;
  for (let sent = notifier.waiting(room); sent.length > 0; sent = notifier.waiting(room)) {
    const answer = await exchange(asking, encodeSendEvent(connection.version, sent), responseCode.eventAck);
    decodeHeadOnly(answer, responseCode.eventAck, 'EVENT_ACK');
    notifier.acknowledge(sent);
    count += sent.length;
  }
  return count;
}

/** In chunks, or in one transfer. Events exist since 1.3, where both sides have said their sizes. */
function longestRequest(connection: Connection): number {
  const { peer } = connection;
  return (bothHave(connection, capability.chunk) ? peer?.maxMessageBytes : peer?.dataTransferBytes) ?? headerBytes;
}
