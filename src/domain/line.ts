import type { Actor } from './actor.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import { refuse, requireCount } from './rules.ts';

/** A product line: identity of its firmware, counter budget, support period. Stream `line-{line}`. NONE → DEFINED */

/** Bits the OTP keeps for the security counter of the application (one bit per step). */
export const maxCounterBudget = 255;

export type LineDefinition = {
  readonly line: string;
  readonly vendorUuid: string;
  readonly classUuid: string;
  /** Highest security counter the chips of this line can hold. */
  readonly counterMaximum: number;
  readonly oem: string;
  readonly supportUntil?: string;
  /** How many days attestations of its devices are kept with their evidence; `defaultAttestationDays` when not set. */
  readonly attestationDays?: number;
};

/** A year and a month: what was a year ago can be shown. */
export const defaultAttestationDays = 396;
const maxAttestationDays = 10_000;

export type LineEvent =
  | { readonly type: 'LineDefined'; readonly data: LineDefinition }
  | { readonly type: 'RollbackFloorRaised'; readonly data: { readonly floor: number; readonly by: Actor } }
  | { readonly type: 'AttestationRetentionSet'; readonly data: { readonly days: number; readonly by: Actor } }
  | { readonly type: 'SupportPeriodSet'; readonly data: { readonly supportUntil: string; readonly by: Actor } };

export type LineCommand =
  | ({ readonly type: 'DefineLine' } & LineDefinition)
  | { readonly type: 'RaiseRollbackFloor'; readonly floor: number; readonly by: Actor }
  | { readonly type: 'SetAttestationRetention'; readonly days: number; readonly by: Actor }
  | { readonly type: 'SetSupportPeriod'; readonly supportUntil: string; readonly by: Actor };

export type DefinedLine = LineDefinition & { readonly status: 'DEFINED'; readonly rollbackFloor: number };
export type LineState = { readonly status: 'NONE' } | DefinedLine;

export const lineStream = (name: string): string => `line-${name}`;

function decide(command: LineCommand, state: LineState): readonly LineEvent[] {
  switch (command.type) {
    case 'DefineLine':
      return define(command, state);
    case 'RaiseRollbackFloor':
      return raiseFloor(command, state);
    case 'SetAttestationRetention': {
      requireStatus(state, ['DEFINED'], 'setting how long attestations are kept');
      const { days, by } = command;
      requireCount(days, 1, 'the days that attestations are kept');
      if (days > maxAttestationDays) refuse('BAD_REQUEST', `attestations are kept for at most ${maxAttestationDays} days`);
      return state.attestationDays === days ? [] : [{ type: 'AttestationRetentionSet', data: { days, by } }];
    }
    case 'SetSupportPeriod': {
      requireStatus(state, ['DEFINED'], 'setting the support period');
      const { supportUntil, by } = command;
      return state.supportUntil === supportUntil ? [] : [{ type: 'SupportPeriodSet', data: { supportUntil, by } }];
    }
  }
}

function define({ type: _, ...data }: Of<LineCommand, 'DefineLine'>, state: LineState): readonly LineEvent[] {
  if (state.status !== 'NONE') {
    const same = state.vendorUuid === data.vendorUuid && state.classUuid === data.classUuid && state.counterMaximum === data.counterMaximum;
    return same ? [] : refuse('CONFLICT', 'this line is defined otherwise');
  }
  requireCount(data.counterMaximum, 1, 'the counter maximum');
  if (data.counterMaximum > maxCounterBudget) refuse('BAD_REQUEST', `the counter maximum is at most ${maxCounterBudget}`);
  return [{ type: 'LineDefined', data }];
}

/** The floor only rises, within the budget (RULE-11). */
function raiseFloor({ floor, by }: Of<LineCommand, 'RaiseRollbackFloor'>, state: LineState): readonly LineEvent[] {
  requireStatus(state, ['DEFINED'], 'raising the rollback floor');
  requireCount(floor, 0, 'the floor');
  if (floor === state.rollbackFloor) return [];
  if (floor < state.rollbackFloor) refuse('ROLLBACK', `the floor of this line is ${state.rollbackFloor}`);
  if (floor > state.counterMaximum) refuse('COUNTER_EXHAUSTED', `the counter of this line ends at ${state.counterMaximum}`);
  return [{ type: 'RollbackFloorRaised', data: { floor, by } }];
}

function evolve(state: LineState, event: LineEvent): LineState {
  if (event.type === 'LineDefined') return { ...event.data, status: 'DEFINED', rollbackFloor: 0 };
  if (state.status === 'NONE') return state;
  switch (event.type) {
    case 'RollbackFloorRaised':
      return { ...state, rollbackFloor: event.data.floor };
    case 'AttestationRetentionSet':
      return { ...state, attestationDays: event.data.days };
    case 'SupportPeriodSet':
      return { ...state, supportUntil: event.data.supportUntil };
    default:
      return state;
  }
}

export const line: Decider<LineCommand, LineState, LineEvent> = { initialState: { status: 'NONE' }, decide, evolve };
