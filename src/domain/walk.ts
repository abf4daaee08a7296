/** The walk of an aggregate whose status depends on its events alone: event type → the status after it, or a step from the one before.
 *  The fold and the read model both use it, so each walk is written once. */
export type Walk<Event extends { readonly type: string }, Status extends string> = {
  readonly [Type in Event['type']]?: Status | ((before: Status) => Status);
};

/** The status after an event; an event that is not in the walk changes nothing. */
export function statusAfter<Event extends { readonly type: string }, Status extends string>(
  walk: Walk<Event, Status>,
  before: Status,
  type: Event['type'],
): Status {
  const step = Object.hasOwn(walk, type) ? (walk[type as Event['type']] as Status | ((before: Status) => Status)) : before;
  return typeof step === 'function' ? step(before) : step;
}
