import { type Decider, requireStatus } from './decider.ts';
import { refuse } from './rules.ts';

/** The sealed days of the attestations of a product line: what the log of attestations held of a day can be shown for as long as its rows are kept,
 *  and cannot be changed. Stream `attestations-{line}`. */

export type SealedDay = {
  /** UTC, `YYYY-MM-DD`. */
  readonly day: string;
  readonly rows: number;
  /** Root of the Merkle tree over the rows in the order of their time (RFC 9162), hex. */
  readonly root: string;
  /** The same, signed by the key of the log (C2SP signed note). */
  readonly note: string;
};
export type AttestationSealEvent = { readonly type: 'AttestationsSealed'; readonly data: SealedDay };
export type AttestationSealCommand = { readonly type: 'SealDay' } & SealedDay;
export type AttestationSealState = { readonly status: 'NONE' } | { readonly status: 'SEALED'; readonly lastDay: string };

export const attestationSealStream = (line: string): string => `attestations-${line}`;

/** Days are sealed in their order, once. */
function decide({ type: _, ...data }: AttestationSealCommand, state: AttestationSealState): readonly AttestationSealEvent[] {
  requireStatus(state, ['NONE', 'SEALED'], 'sealing a day');
  if (state.status === 'SEALED' && data.day === state.lastDay) return [];
  if (state.status === 'SEALED' && data.day < state.lastDay) refuse('CONFLICT', `the days up to ${state.lastDay} are sealed`);
  return [{ type: 'AttestationsSealed', data }];
}

function evolve(state: AttestationSealState, event: AttestationSealEvent): AttestationSealState {
  switch (event.type) {
    case 'AttestationsSealed':
      return { status: 'SEALED', lastDay: event.data.day };
    default:
      return state;
  }
}

export const attestationSeal: Decider<AttestationSealCommand, AttestationSealState, AttestationSealEvent> = {
  initialState: { status: 'NONE' },
  decide,
  evolve,
};
