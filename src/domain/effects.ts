import { dayMs } from '../times.ts';
import { type ApprovedContent, contentOfApproval } from './approval.ts';
import { contentText } from './contentText.ts';
import type { Decider, Of } from './decider.ts';
import { isWaiting, requireWaiting } from './proposals.ts';
import { isPast, refuse, requireCount, requireOtherPerson, timeAfter } from './rules.ts';

/** What one person may do to devices alone within a day, however it is asked: beyond the limit another person has to allow more (I16).
 *  Stream `effects-{name}`. An allowance: PROPOSED → APPROVED, and is used up or ends a day later. */

export const effects = ['revoke', 'decommission', 'decommissionWithoutReceipt', 'quarantine', 'release'] as const;
export type EffectKind = (typeof effects)[number];

/** Default of the setting `effectsPerDay`. */
export const defaultEffectsPerDay = 10;
/** Devices of one allowance; more are a bulk revocation. */
export const maxAllowed = 5000;
const maxOpenAllowances = 20;

export type Allowance = {
  readonly id: string;
  readonly effect: EffectKind;
  readonly count: number;
  /** For people: which devices, and why. */
  readonly note: string;
  readonly proposedBy: string;
  readonly proposedAt: string;
  readonly approvedBy?: string;
  readonly approvedAt?: string;
  readonly used: number;
};

export type EffectEvent =
  | {
      readonly type: 'EffectUsed';
      readonly data: { readonly effect: EffectKind; readonly subject: string; readonly at: string; readonly allowanceId?: string };
    }
  /** Nothing was done after all: the use of that time does not count. */
  | { readonly type: 'EffectReturned'; readonly data: { readonly effect: EffectKind; readonly subject: string; readonly at: string } }
  | {
      readonly type: 'EffectAllowanceProposed';
      readonly data: {
        readonly id: string;
        readonly effect: EffectKind;
        readonly count: number;
        readonly note: string;
        readonly by: string;
        readonly at: string;
      };
    }
  /** `contentSha256`: SHA-256 of the content (`allowanceContent`) that was approved. */
  | {
      readonly type: 'EffectAllowanceApproved';
      readonly data: { readonly id: string; readonly by: string; readonly at: string; readonly contentSha256?: string };
    };

export type EffectCommand =
  | {
      readonly type: 'UseEffect';
      readonly effect: EffectKind;
      readonly subject: string;
      readonly limit: number;
      readonly now: string;
      /** It is done already, so it counts whatever the limit is. */
      readonly isDone?: boolean;
    }
  | { readonly type: 'ReturnEffect'; readonly effect: EffectKind; readonly subject: string; readonly at: string }
  | {
      readonly type: 'ProposeEffectAllowance';
      readonly id: string;
      readonly effect: EffectKind;
      readonly count: number;
      readonly note: string;
      readonly by: string;
      readonly now: string;
    }
  | {
      readonly type: 'ApproveEffectAllowance';
      readonly id: string;
      readonly by: string;
      readonly now: string;
      readonly content?: ApprovedContent;
    };

type Use = { readonly effect: EffectKind; readonly subject: string; readonly at: string };
type Used = Use & { readonly allowanceId?: string | undefined };
const isSameUse = (one: Use, other: Use): boolean => one.effect === other.effect && one.subject === other.subject && one.at === other.at;
export type EffectsState = { readonly used: readonly Used[]; readonly allowances: ReadonlyMap<string, Allowance> };

export const effectsStream = (name: string): string => `effects-${name}`;

/** Within the day before now. */
const isToday = (at: string, now: string): boolean => !isPast(timeAfter(at, dayMs), now);

/** @throws NusecError NOT_FOUND */
export const allowanceOf = (state: EffectsState, id: string): Allowance =>
  state.allowances.get(id) ?? refuse('NOT_FOUND', 'there is no such allowance');

/** What an approval approves, as one text. Equal texts are equal content. */
export const allowanceContent = ({ id, effect, count, note, proposedBy }: Allowance): string =>
  contentText([id, effect, count, note, proposedBy]);

function decide(command: EffectCommand, state: EffectsState): readonly EffectEvent[] {
  switch (command.type) {
    case 'UseEffect':
      return use(command, state);
    case 'ReturnEffect': {
      const { type: _, ...data } = command;
      return state.used.some(known => isSameUse(known, data)) ? [{ type: 'EffectReturned', data }] : [];
    }
    case 'ProposeEffectAllowance': {
      const { type: _, now: at, ...data } = command;
      if (state.allowances.has(data.id)) return [];
      requireCount(data.count, 1, 'the number of devices');
      if (data.count > maxAllowed) refuse('BAD_REQUEST', `an allowance is for at most ${maxAllowed} devices`);
      const open = [...state.allowances.values()].filter(
        ({ approvedBy, proposedAt }) => approvedBy === undefined && isWaiting(proposedAt, at),
      );
      if (open.length >= maxOpenAllowances) refuse('RATE_LIMITED', 'too many allowances');
      return [{ type: 'EffectAllowanceProposed', data: { ...data, at } }];
    }
    case 'ApproveEffectAllowance': {
      const { id, by, now: at } = command;
      const known = allowanceOf(state, id);
      requireOtherPerson(known.proposedBy, by, 'allowing more');
      const approved = contentOfApproval(command.content, allowanceContent(known));
      if (known.approvedBy !== undefined) return [];
      requireWaiting(known.proposedAt, at, 'the allowance');
      return [{ type: 'EffectAllowanceApproved', data: { id, by, at, ...approved } }];
    }
  }
}

/** The same deed on the same device within the day counts once. */
function use({ effect, subject, limit, now: at, isDone }: Of<EffectCommand, 'UseEffect'>, state: EffectsState): readonly EffectEvent[] {
  const today = state.used.filter(known => known.effect === effect && isToday(known.at, at));
  if (today.some(known => known.subject === subject)) return [];
  if (isDone || today.filter(({ allowanceId }) => allowanceId === undefined).length < limit)
    return [{ type: 'EffectUsed', data: { effect, subject, at } }];
  const allowance = [...state.allowances.values()].find(
    known => known.effect === effect && known.approvedAt !== undefined && isToday(known.approvedAt, at) && known.used < known.count,
  );
  if (allowance === undefined)
    refuse(
      'FOUR_EYES_REQUIRED',
      `one person alone does this ${limit === 0 ? 'never' : `at most ${limit} times a day`} (${effect}): ask for an allowance, another person approves it`,
    );
  return [{ type: 'EffectUsed', data: { effect, subject, at, allowanceId: allowance.id } }];
}

function evolve(state: EffectsState, event: EffectEvent): EffectsState {
  switch (event.type) {
    case 'EffectUsed': {
      const { at, allowanceId } = event.data;
      // Only the last day is asked for.
      const recent = state.used.filter(known => isToday(known.at, at));
      return { used: [...recent, event.data], allowances: withUse(state.allowances, allowanceId, 1) };
    }
    case 'EffectReturned': {
      const returned = state.used.find(known => isSameUse(known, event.data));
      const used = state.used.filter(known => known !== returned);
      return { used, allowances: withUse(state.allowances, returned?.allowanceId, -1) };
    }
    case 'EffectAllowanceProposed': {
      const { by: proposedBy, at: proposedAt, ...rest } = event.data;
      return { ...state, allowances: new Map(state.allowances).set(rest.id, { ...rest, proposedBy, proposedAt, used: 0 }) };
    }
    case 'EffectAllowanceApproved': {
      const known = state.allowances.get(event.data.id);
      if (known === undefined) return state;
      const approved = { ...known, approvedBy: event.data.by, approvedAt: event.data.at };
      return { ...state, allowances: new Map(state.allowances).set(known.id, approved) };
    }
    default:
      return state;
  }
}

function withUse(allowances: EffectsState['allowances'], id: string | undefined, by: 1 | -1): EffectsState['allowances'] {
  const known = id === undefined ? undefined : allowances.get(id);
  return known === undefined ? allowances : new Map(allowances).set(known.id, { ...known, used: known.used + by });
}

export const effectsOfPerson: Decider<EffectCommand, EffectsState, EffectEvent> = {
  initialState: { used: [], allowances: new Map() },
  decide,
  evolve,
};
