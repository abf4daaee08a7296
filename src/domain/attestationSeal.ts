import { type Decider, requireStatus } from './decider.ts';
import { refuse } from './rules.ts';

/** The sealed days of the attestations of a product line: what the log of attestations held of a day can be shown for as long as its rows are kept,
 *  and cannot be changed. Rows of a machine that was cut off while their day was sealed get a seal of their own, a late one. Stream
 *  `attestations-{line}`. */

export type SealedDay = {
  /** UTC, `YYYY-MM-DD`. */
  readonly day: string;
  readonly rows: number;
  /** Root of the Merkle tree over the rows in the order of their time (RFC 9162), hex. */
  readonly root: string;
  /** The same, signed by the key of the log (C2SP signed note). */
  readonly note: string;
  /** Where machines share their rows: for each machine the number of its newest segment that this seal covers, but for what an earlier seal of this day
   *  covers. */
  readonly through?: Readonly<Record<string, number>>;
  /** The day was sealed, or passed over as empty, before these rows came. */
  readonly late?: true;
};
export type AttestationSealEvent = { readonly type: 'AttestationsSealed'; readonly data: SealedDay };
export type AttestationSealCommand = { readonly type: 'SealDay' } & SealedDay;
export type AttestationSealState =
  | { readonly status: 'NONE' }
  | { readonly status: 'SEALED'; readonly lastDay: string; readonly lastRoot: string };

export const attestationSealStream = (line: string): string => `attestations-${line}`;

/** Days are sealed in their order, once; late rows of days before at any time. */
function decide({ type: _, ...data }: AttestationSealCommand, state: AttestationSealState): readonly AttestationSealEvent[] {
  requireStatus(state, ['NONE', 'SEALED'], 'sealing a day');
  if (data.late) return decideLate(data, state);
  if (state.status === 'SEALED' && data.day === state.lastDay) return [];
  if (state.status === 'SEALED' && data.day < state.lastDay) refuse('CONFLICT', `the days up to ${state.lastDay} are sealed`);
  return [{ type: 'AttestationsSealed', data }];
}

function decideLate(data: SealedDay, state: AttestationSealState): readonly AttestationSealEvent[] {
  if (state.status !== 'SEALED' || data.day > state.lastDay) refuse('CONFLICT', 'rows are late for a day that is sealed only');
  else if (data.root === state.lastRoot) return [];
  return [{ type: 'AttestationsSealed', data }];
}

function evolve(state: AttestationSealState, event: AttestationSealEvent): AttestationSealState {
  switch (event.type) {
    case 'AttestationsSealed':
      return {
        status: 'SEALED',
        lastDay: state.status === 'SEALED' && state.lastDay > event.data.day ? state.lastDay : event.data.day,
        lastRoot: event.data.root,
      };
    default:
      return state;
  }
}

export const attestationSeal: Decider<AttestationSealCommand, AttestationSealState, AttestationSealEvent> = {
  initialState: { status: 'NONE' },
  decide,
  evolve,
};
