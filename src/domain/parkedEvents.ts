import type { Actor, IsoTime } from './actor.ts';
import { type ApprovedContent, contentOfApproval } from './approval.ts';
import { contentText } from './contentText.ts';
import type { Decider } from './decider.ts';
import { isWaiting } from './proposals.ts';
import { refuse, requireCount } from './rules.ts';

/** Events that a follower of the log skips, because it cannot handle them: proposed by one person, parked when another agrees
 *  (I16). Hiding an event from a follower can hide a revocation. Stream `parked-events`; each: PROPOSED → PARKED. */

const maxParkedEvents = 1000;

/** @property follower as the health of the server names it @property position of the event in the log */
export type ParkedPlace = { readonly follower: string; readonly position: number };
type Wish = ParkedPlace & { readonly id: string; readonly reason: string; readonly by: Actor; readonly at: IsoTime };

export type ParkedEventsEvent =
  | { readonly type: 'EventParkingProposed'; readonly data: Wish }
  /** `contentSha256`: of the proposal (`parkedContent`) that was approved. */
  | { readonly type: 'EventParked'; readonly data: Wish & { readonly contentSha256?: string } };
export type ParkedEventsCommand = {
  readonly type: 'ParkEvent';
  readonly follower: string;
  readonly position: number;
  readonly reason: string;
  readonly by: Actor;
  readonly now: IsoTime;
  /** Of an approval. */
  readonly content?: ApprovedContent | undefined;
};

export type ParkedEvent = ParkedPlace & {
  readonly status: 'PROPOSED' | 'PARKED';
  readonly reason: string;
  readonly proposedBy: Actor;
  readonly proposedAt: IsoTime;
  readonly approvedBy?: Actor;
};
/** By `parkedId`. */
export type ParkedEventsState = { readonly byId: ReadonlyMap<string, ParkedEvent> };

export const parkedEventsStream = 'parked-events';
export const parkedId = ({ follower, position }: ParkedPlace): string => `${position} ${follower}`;

/** What an approval approves, as one text. Equal texts are equal content. */
export const parkedContent = ({ follower, position, reason, proposedBy, proposedAt }: ParkedEvent): string =>
  contentText([follower, position, reason, proposedBy, proposedAt]);

/** Whether it is parked, or proposed and still waits for another person: then it is not proposed. */
export const isStanding = (known: ParkedEvent | undefined, now: IsoTime): known is ParkedEvent =>
  known !== undefined && (known.status === 'PARKED' || isWaiting(known.proposedAt, now));

/** The same person again changes nothing. */
function decide(command: ParkedEventsCommand, { byId }: ParkedEventsState): readonly ParkedEventsEvent[] {
  const { type: _, now: at, content, ...wish } = command;
  const id = parkedId(wish);
  const known = byId.get(id);
  requireCount(wish.position, 1, 'the position');
  if (known === undefined && byId.size >= maxParkedEvents) refuse('RATE_LIMITED', 'too many events are parked');
  if (!isStanding(known, at)) return [{ type: 'EventParkingProposed', data: { id, ...wish, at } }];
  if (known.status === 'PARKED' || known.proposedBy === wish.by) return [];
  return [{ type: 'EventParked', data: { id, ...wish, at, ...contentOfApproval(content, parkedContent(known)) } }];
}

function evolve(state: ParkedEventsState, { type, data }: ParkedEventsEvent): ParkedEventsState {
  const { id, follower, position, reason, by, at } = data;
  if (type === 'EventParkingProposed') {
    const proposed = { follower, position, reason, status: 'PROPOSED', proposedBy: by, proposedAt: at } as const;
    return { byId: new Map(state.byId).set(id, proposed) };
  }
  const known = state.byId.get(id);
  if (type !== 'EventParked' || known === undefined) return state;
  return { byId: new Map(state.byId).set(id, { ...known, status: 'PARKED', approvedBy: by }) };
}

export const parkedEvents: Decider<ParkedEventsCommand, ParkedEventsState, ParkedEventsEvent> = {
  initialState: { byId: new Map() },
  decide,
  evolve,
};
