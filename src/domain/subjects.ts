import type { Actor, IsoTime } from './actor.ts';
import { type ApprovedContent, contentOfApproval } from './approval.ts';
import { contentText } from './contentText.ts';
import type { Decider, Of } from './decider.ts';
import { isWaiting, requireWaiting } from './proposals.ts';
import { refuse, requireCount, requireOtherPerson } from './rules.ts';

/** Erasure of people from the log: the data key of a subject is destroyed, so that nobody can read any more what was written under it. Proposed by one
 *  person, approved by another (I16), because it cannot be undone. Stream `subjects`; a subject: PROPOSED → APPROVED → ERASED. */

/** Whom a data key is for: an operator, a site (manufacturers may be persons too), the network address of a client. */
export const subjectKinds = ['operator', 'site', 'address'] as const;
export type SubjectKind = (typeof subjectKinds)[number];

const maxErasures = 100_000;

export type SubjectsEvent =
  | {
      readonly type: 'SubjectErasureProposed';
      readonly data: {
        readonly id: string;
        readonly kind: SubjectKind;
        readonly reason: string;
        readonly by: Actor;
        readonly at: IsoTime;
      };
    }
  /** `contentSha256`: of the proposal (`erasureContent`) that was approved. */
  | {
      readonly type: 'SubjectErasureApproved';
      readonly data: { readonly id: string; readonly by: Actor; readonly at: IsoTime; readonly contentSha256?: string };
    }
  /** The key is gone. `keySha256`: of the key, hex, so that a copy that turns up later is known for what it is; missing when there was none. */
  | { readonly type: 'SubjectErased'; readonly data: { readonly id: string; readonly keySha256?: string } }
  /** Addresses of clients, whose time is over; they are only counted. `before`: first seen before then. */
  | { readonly type: 'AddressesForgotten'; readonly data: { readonly count: number; readonly before: IsoTime } };

export type SubjectsCommand =
  | {
      readonly type: 'ProposeErasure';
      readonly id: string;
      readonly kind: SubjectKind;
      readonly reason: string;
      readonly by: Actor;
      readonly now: IsoTime;
    }
  | {
      readonly type: 'ApproveErasure';
      readonly id: string;
      readonly by: Actor;
      readonly now: IsoTime;
      readonly content?: ApprovedContent;
    }
  /** The key was destroyed. `again`: it was known to be erased before an older store was put back. */
  | { readonly type: 'RecordErasure'; readonly id: string; readonly keySha256?: string; readonly again?: boolean }
  | { readonly type: 'ForgetAddresses'; readonly count: number; readonly before: IsoTime };

export type Erasure = {
  readonly status: 'PROPOSED' | 'APPROVED' | 'ERASED';
  readonly kind?: SubjectKind;
  readonly reason?: string;
  readonly proposedBy?: Actor;
  readonly proposedAt?: IsoTime;
  readonly approvedBy?: Actor;
};
export type SubjectsState = { readonly byId: ReadonlyMap<string, Erasure> };

export const subjectsStream = 'subjects';

/** What an approval approves, as one text. Equal texts are equal content. */
export const erasureContent = (id: string, { kind, reason, proposedBy, proposedAt }: Erasure): string =>
  contentText([id, kind, reason, proposedBy, proposedAt]);

/** Waits for an approval that still counts. */
export const isProposed = (erasure: Erasure | undefined, now: IsoTime): boolean =>
  erasure?.status === 'PROPOSED' && isWaiting(erasure.proposedAt, now);

function decide(command: SubjectsCommand, state: SubjectsState): readonly SubjectsEvent[] {
  switch (command.type) {
    case 'ProposeErasure':
      return propose(command, state);
    case 'ApproveErasure':
      return approve(command, state);
    case 'RecordErasure': {
      const { id, keySha256, again = false } = command;
      const status = state.byId.get(id)?.status;
      if (status === 'ERASED') return [];
      if (status !== 'APPROVED' && !again) refuse('FOUR_EYES_REQUIRED', 'the erasure is not approved');
      return [{ type: 'SubjectErased', data: { id, ...(keySha256 !== undefined && { keySha256 }) } }];
    }
    case 'ForgetAddresses': {
      const { count, before } = command;
      requireCount(count, 0, 'the number of addresses');
      return count === 0 ? [] : [{ type: 'AddressesForgotten', data: { count, before } }];
    }
  }
}

function propose({ type: _, now: at, ...wish }: Of<SubjectsCommand, 'ProposeErasure'>, { byId }: SubjectsState): readonly SubjectsEvent[] {
  const known = byId.get(wish.id);
  if (known?.status === 'ERASED' || known?.status === 'APPROVED' || isProposed(known, at)) return [];
  if (byId.size >= maxErasures) refuse('RATE_LIMITED', `at most ${maxErasures} people are erased`);
  return [{ type: 'SubjectErasureProposed', data: { ...wish, at } }];
}

function approve({ id, by, now: at, content }: Of<SubjectsCommand, 'ApproveErasure'>, { byId }: SubjectsState): readonly SubjectsEvent[] {
  const known = byId.get(id);
  if (known?.status === 'ERASED' || known?.status === 'APPROVED') return [];
  if (known === undefined) refuse('STATE', 'no erasure is proposed');
  requireWaiting(known.proposedAt, at, 'the erasure');
  requireOtherPerson(known.proposedBy ?? '', by, 'approving an erasure');
  return [{ type: 'SubjectErasureApproved', data: { id, by, at, ...contentOfApproval(content, erasureContent(id, known)) } }];
}

function evolve(state: SubjectsState, event: SubjectsEvent): SubjectsState {
  switch (event.type) {
    case 'SubjectErasureProposed': {
      const { id, kind, reason, by: proposedBy, at: proposedAt } = event.data;
      return withErasure(state, id, { status: 'PROPOSED', kind, reason, proposedBy, proposedAt });
    }
    case 'SubjectErasureApproved':
      return withErasure(state, event.data.id, { ...state.byId.get(event.data.id), status: 'APPROVED', approvedBy: event.data.by });
    case 'SubjectErased':
      return withErasure(state, event.data.id, { ...state.byId.get(event.data.id), status: 'ERASED' });
    default:
      return state;
  }
}

const withErasure = ({ byId }: SubjectsState, id: string, erasure: Erasure): SubjectsState => ({ byId: new Map(byId).set(id, erasure) });

export const subjects: Decider<SubjectsCommand, SubjectsState, SubjectsEvent> = { initialState: { byId: new Map() }, decide, evolve };
