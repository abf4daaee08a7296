import { type ParkedPlace, parkedEvents, parkedEventsStream, parkedId } from '../domain/parkedEvents.ts';
import { loadState } from './handle.ts';
import type { EventStore } from './port.ts';

/** Whether two people have parked an event for a follower that cannot handle it: then it skips the event. */
export async function isParked(store: EventStore, place: ParkedPlace): Promise<boolean> {
  const { state } = await loadState(store, parkedEvents, parkedEventsStream);
  return state.byId.get(parkedId(place))?.status === 'PARKED';
}
