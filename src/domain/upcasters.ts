import { firstRootId } from './authorityEvents.ts';
import type { EventType } from './events.ts';

/** Brings the data of events that were stored by older versions to today's shape. Pure and total; what is in the log never changes.
 *  When the shape of a type changes, a step is added at the end of its list, and a stored event of the older shape to the tests. */

type Data = { readonly [name: string]: unknown };
type Step = (data: Data) => Data;

/** The first step of a type takes data of version 1 to version 2, and so on. The newest version is the one without a step. */
const stepsByType: { readonly [Type in EventType]?: readonly Step[] } = {
  // Version 1 held all bits of the package's policy; all but one are the same for every job now.
  JobCreated: [data => ({ ...data, policy: { requireUidList: (data.policy as Data | undefined)?.requireUidList === true } })],
  // In version 1 the curve may be missing: every key was P-256 before it could be chosen.
  RootCaEstablished: [withCurve],
  RootCaRolled: [withCurve],
  // In version 1 the root may be missing as well: there was only one before roots could follow each other.
  IssuingCaEstablished: [data => ({ rootId: firstRootId, ...withCurve(data) })],
  TrustBundlePublished: [data => ({ byRoot: { [firstRootId]: data.sha256 }, ...data })],
};
const steps = new Map<string, readonly Step[]>(Object.entries(stepsByType));

function withCurve(data: Data): Data {
  return { curve: 'P-256', ...data };
}

/** Schema version that events of this type are stored with today. */
export const schemaVersionOf = (type: string): number => (steps.get(type)?.length ?? 0) + 1;

/** The event with data of today's shape, and with its version. An event of today, or of a type without steps, is given back as it is. */
export function upcast<Event extends { readonly type: string; readonly v: number; readonly data: object }>(event: Event): Event {
  const missing = steps.get(event.type)?.slice(event.v - 1);
  if (missing === undefined || missing.length === 0) return event;
  return { ...event, v: schemaVersionOf(event.type), data: missing.reduce<Data>((data, step) => step(data), event.data as Data) };
}
