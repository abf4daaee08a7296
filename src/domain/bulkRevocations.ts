import type { Actor, IsoTime } from './actor.ts';
import { type ApprovedContent, contentOfApproval } from './approval.ts';
import { contentText } from './contentText.ts';
import type { Decider } from './decider.ts';
import type { RevocationReason } from './deviceEvents.ts';
import { isWaiting, requireWaiting } from './proposals.ts';
import { refuse, requireCount, requireOtherPerson } from './rules.ts';

/** Revocations of many devices together, for a stolen batch or a broken key generator: proposed by one person, executed when another approves
 *  (I16), with progress. Stream `bulk-revocations-{project}`; each: PROPOSED → RUNNING → DONE, or PROPOSED | RUNNING → CANCELLED. */

/** Proposed or running at the same time. */
export const maxOpenBulkRevocations = 10;
const maxBulkRevocations = 10_000;

export type BulkWish = {
  readonly id: string;
  readonly reason: RevocationReason;
  /** For people: why, and which devices. */
  readonly note: string;
  /** Blob of the UIDs, 16 bytes each, ascending. */
  readonly uidsSha256: string;
  readonly count: number;
};

export type BulkRevocationEvent =
  | { readonly type: 'BulkRevocationProposed'; readonly data: BulkWish & { readonly by: Actor; readonly at: IsoTime } }
  /** `contentSha256`: SHA-256 of the content (`bulkRevocationContent`) that was approved. */
  | {
      readonly type: 'BulkRevocationApproved';
      readonly data: { readonly id: string; readonly by: Actor; readonly at: IsoTime; readonly contentSha256?: string };
    }
  | { readonly type: 'BulkRevocationProgressed'; readonly data: BulkProgress }
  | { readonly type: 'BulkRevocationDone'; readonly data: { readonly id: string; readonly at: IsoTime } }
  | { readonly type: 'BulkRevocationCancelled'; readonly data: { readonly id: string; readonly by: Actor; readonly at: IsoTime } };
/** `done` of `count` devices were looked at; `revoked` had valid certificates, `failed` were not found. */
export type BulkProgress = { readonly id: string; readonly done: number; readonly revoked: number; readonly failed: number };
export type BulkRevocationCommand =
  | ({ readonly type: 'ProposeBulkRevocation'; readonly by: Actor; readonly now: IsoTime } & BulkWish)
  | {
      readonly type: 'ApproveBulkRevocation';
      readonly id: string;
      readonly by: Actor;
      readonly now: IsoTime;
      readonly content?: ApprovedContent;
    }
  | ({ readonly type: 'ProgressBulkRevocation' } & BulkProgress)
  | { readonly type: 'FinishBulkRevocation'; readonly id: string; readonly now: IsoTime }
  | { readonly type: 'CancelBulkRevocation'; readonly id: string; readonly by: Actor; readonly now: IsoTime };

export type BulkRevocation = BulkWish & {
  readonly status: 'PROPOSED' | 'RUNNING' | 'DONE' | 'CANCELLED';
  readonly proposedBy: string;
  readonly proposedAt: string;
  readonly approvedBy?: string;
  readonly approvedSha256?: string;
  readonly done: number;
  readonly revoked: number;
  readonly failed: number;
};
export type BulkRevocationsState = { readonly byId: ReadonlyMap<string, BulkRevocation> };

export const bulkRevocationsStream = (project: string): string => `bulk-revocations-${project}`;

/** What an approval approves, as one text: which devices, and why. Equal texts are equal content. */
export const bulkRevocationContent = ({ id, reason, note, uidsSha256, count }: BulkWish): string =>
  contentText([id, reason, note, uidsSha256, count]);

/** @throws NusecError NOT_FOUND */
export function bulkRevocationOf(state: BulkRevocationsState, id: string): BulkRevocation {
  return state.byId.get(id) ?? refuse('NOT_FOUND', 'there is no such bulk revocation');
}

function decide(command: BulkRevocationCommand, state: BulkRevocationsState): readonly BulkRevocationEvent[] {
  if (command.type === 'ProposeBulkRevocation') return propose(command, state);
  const known = bulkRevocationOf(state, command.id);
  const { id } = command;
  switch (command.type) {
    case 'ApproveBulkRevocation': {
      requireOtherPerson(known.proposedBy, command.by, 'a revocation in bulk');
      const approved = contentOfApproval(command.content, bulkRevocationContent(known));
      if (known.status === 'CANCELLED') refuse('STATE', 'it is cancelled');
      if (known.status === 'PROPOSED') requireWaiting(known.proposedAt, command.now, 'the revocation');
      const data = { id, by: command.by, at: command.now, ...approved };
      return known.status === 'PROPOSED' ? [{ type: 'BulkRevocationApproved', data }] : [];
    }
    case 'ProgressBulkRevocation': {
      const { type: _, ...progress } = command;
      if (known.status !== 'RUNNING') refuse('STATE', `it is ${known.status}`);
      return progress.done <= known.done ? [] : [{ type: 'BulkRevocationProgressed', data: progress }];
    }
    case 'FinishBulkRevocation':
      if (known.status === 'DONE') return [];
      if (known.status !== 'RUNNING' || known.done < known.count) refuse('STATE', 'not all devices were looked at');
      return [{ type: 'BulkRevocationDone', data: { id, at: command.now } }];
    case 'CancelBulkRevocation':
      if (known.status === 'CANCELLED') return [];
      if (known.status === 'DONE') refuse('STATE', 'it is done');
      return [{ type: 'BulkRevocationCancelled', data: { id, by: command.by, at: command.now } }];
  }
}

function propose(
  { type: _, now: at, ...wish }: Extract<BulkRevocationCommand, { readonly type: 'ProposeBulkRevocation' }>,
  state: BulkRevocationsState,
): readonly BulkRevocationEvent[] {
  if (state.byId.has(wish.id)) return [];
  requireCount(wish.count, 1, 'the number of devices');
  const isOpen = ({ status, proposedAt }: BulkRevocation) => status === 'RUNNING' || (status === 'PROPOSED' && isWaiting(proposedAt, at));
  const open = [...state.byId.values()].filter(isOpen);
  if (open.length >= maxOpenBulkRevocations || state.byId.size >= maxBulkRevocations) refuse('RATE_LIMITED', 'too many bulk revocations');
  return [{ type: 'BulkRevocationProposed', data: { ...wish, at } }];
}

function evolve(state: BulkRevocationsState, event: BulkRevocationEvent): BulkRevocationsState {
  const byId = new Map(state.byId);
  if (event.type === 'BulkRevocationProposed') {
    const { by: proposedBy, at: proposedAt, ...wish } = event.data;
    return { byId: byId.set(wish.id, { ...wish, status: 'PROPOSED', proposedBy, proposedAt, done: 0, revoked: 0, failed: 0 }) };
  }
  const known = state.byId.get(event.data.id);
  if (known === undefined) return state;
  switch (event.type) {
    case 'BulkRevocationApproved': {
      const { by: approvedBy, contentSha256 } = event.data;
      const content = contentSha256 === undefined ? {} : { approvedSha256: contentSha256 };
      return { byId: byId.set(known.id, { ...known, status: 'RUNNING', approvedBy, ...content }) };
    }
    case 'BulkRevocationProgressed':
      return { byId: byId.set(known.id, { ...known, ...event.data }) };
    case 'BulkRevocationDone':
      return { byId: byId.set(known.id, { ...known, status: 'DONE' }) };
    case 'BulkRevocationCancelled':
      return { byId: byId.set(known.id, { ...known, status: 'CANCELLED' }) };
    default:
      return state;
  }
}

export const bulkRevocations: Decider<BulkRevocationCommand, BulkRevocationsState, BulkRevocationEvent> = {
  initialState: { byId: new Map() },
  decide,
  evolve,
};
