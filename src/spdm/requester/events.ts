import { capability, responseCode } from '../constants.ts';
import {
  decodeSupportedEventTypes,
  type EventGroup,
  encodeGetSupportedEventTypes,
  encodeSubscribeEventTypes,
  type SpdmEvent,
} from '../messages/events.ts';
import { decodeHeadOnly } from '../messages/sessionControl.ts';
import { requirePeer } from './connection.ts';
import { type Asking, exchange } from './requests.ts';

/** Events of a responder (DSP0274 since 1.3), in a session: which ones there are, and which ones we want. They come as answers to
 *  GET_ENCAPSULATED_REQUEST: see `answerQuestions`. */

const what = 'events';

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

/** Where the events of a session arrive. */
export type EventInbox = {
  /** @param events in the order of their ids; those that have come before count once */
  take(events: readonly SpdmEvent[]): void;
};

export function createEventInbox(onEvent: (event: SpdmEvent) => void): EventInbox {
  let lastId = -1;
  return {
    take(events) {
      for (const event of events) {
        if (event.id <= lastId) continue;
        lastId = event.id;
        onEvent(event);
      }
    },
  };
}
