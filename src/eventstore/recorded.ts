import type { DomainEvent, EventMap, EventType } from '../domain/events.ts';
import { schemaVersionOf, upcast } from '../domain/upcasters.ts';
import type { EventStore, EventToAppend, JsonObject, RecordedEvent } from './port.ts';

/** The border between the log, which keeps whatever JSON it was given, and code that knows the shape of every event. */

type Envelope = Omit<RecordedEvent, 'type' | 'data'>;

/** A stored event with the data of its type; without a type, a union that a comparison of `type` narrows. */
export type Recorded<Type extends EventType = EventType> = {
  [One in Type]: Envelope & { readonly type: One; readonly data: EventMap[One] };
}[Type];

/** A stored event as its readers see it. What is in the log was made by deciders, of today or before, so it has their shapes. */
export const recorded = (event: RecordedEvent): Recorded => upcast(event) as RecordedEvent & Recorded;

/** All events of a stream of one aggregate, oldest first. @throws NusecError as EventStore.readStream */
export async function streamOf<Event extends DomainEvent>(store: EventStore, stream: string): Promise<readonly Recorded<Event['type']>[]> {
  return (await store.readStream(stream)).map(event => recorded(event) as Recorded<Event['type']>);
}

/** The events of one type in a stream, oldest first. @throws NusecError as EventStore.readStream */
export async function historyOf<Type extends EventType>(store: EventStore, stream: string, type: Type): Promise<readonly Recorded<Type>[]> {
  const events = await store.readStream(stream);
  return events.filter(event => event.type === type).map(event => recorded(event) as Recorded<Type>);
}

/** An event that no decider makes, ready to be appended. */
export function newEvent<Type extends EventType>(
  type: Type,
  data: EventMap[Type] & JsonObject,
  envelope: Pick<EventToAppend, 'id' | 'at' | 'by'>,
): EventToAppend {
  return { type, v: schemaVersionOf(type), data, ...envelope };
}
