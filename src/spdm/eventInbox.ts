import { dmtfGroupVersion, dmtfRegistry, type EventGroup, type SpdmEvent } from './messages/events.ts';

/** The end of a session that is told of events (DSP0274 since 1.3, Event Recipient). Either role can be that end. */

/** Where the events of a session arrive. */
export type EventInbox = {
  /** @param events in the order of their ids; those that have come before count once. One whose `onEvent` throws has not come, nor have those after it */
  take(events: readonly SpdmEvent[]): void;
};

export function createEventInbox(onEvent: (event: SpdmEvent) => void): EventInbox {
  let lastId = -1;
  return {
    take(events) {
      for (const event of events) {
        if (event.id <= lastId) continue;
        onEvent(event);
        lastId = event.id;
      }
    },
  };
}

/** What there is to subscribe to: all events of DMTF that the other end has. @returns empty when it has none that are known here */
export const wantedOf = (groups: readonly EventGroup[]): readonly EventGroup[] =>
  groups.filter(({ registry, version }) => registry === dmtfRegistry && version === dmtfGroupVersion);
