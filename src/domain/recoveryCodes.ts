import type { IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';
import { isPast, refuse } from './rules.ts';

/** Recovery codes of a project: three, made together and each kept by another person; two of them, two pairs of eyes, give one or two administrators
 *  another token when too few administrators have one that counts. Stream `recovery-codes`. The log has slow hashes only; a set is used once. */

/** How long a recovery waits for an administrator who objects. */
export const recoveryDelayHours = 72;

export type HashedCode = { readonly salt: string; readonly hash: string };

export type RecoveryCodesEvent =
  /** `validFrom`: codes that were made on the server's machine wait, so that administrators see the alarm first. */
  | { readonly type: 'RecoveryCodesMade'; readonly data: { readonly codes: readonly HashedCode[]; readonly validFrom: IsoTime } }
  | { readonly type: 'RecoveryCodesUsed'; readonly data: { readonly name: string; readonly second?: string } };

export type RecoveryCodesCommand =
  | { readonly type: 'MakeRecoveryCodes'; readonly codes: readonly HashedCode[]; readonly validFrom: IsoTime }
  /** `right`: how many of the codes that were given belong to the set. */
  | {
      readonly type: 'UseRecoveryCodes';
      readonly name: string;
      readonly second?: string;
      readonly right: number;
      readonly now: IsoTime;
    };

export type RecoveryCodesState = { readonly codes: readonly HashedCode[]; readonly validFrom: IsoTime };

export const recoveryCodesStream = 'recovery-codes';
export const recoveryCodesMade = 3;
const recoveryCodesNeeded = 2;

function decide(command: RecoveryCodesCommand, state: RecoveryCodesState): readonly RecoveryCodesEvent[] {
  switch (command.type) {
    case 'MakeRecoveryCodes': {
      const { codes, validFrom } = command;
      if (codes.length !== recoveryCodesMade) refuse('BAD_REQUEST', `a set has ${recoveryCodesMade} codes`);
      return [{ type: 'RecoveryCodesMade', data: { codes, validFrom } }];
    }
    case 'UseRecoveryCodes': {
      if (state.codes.length === 0) refuse('STATE', 'there are no recovery codes, or they were used');
      if (!isPast(state.validFrom, command.now)) refuse('STATE', `these recovery codes count from ${state.validFrom} on`);
      if (command.right < recoveryCodesNeeded)
        refuse('FORBIDDEN', `${recoveryCodesNeeded} different recovery codes of the newest set are needed`);
      if (command.second === command.name) refuse('FOUR_EYES_REQUIRED', 'the second token is for another person');
      return [{ type: 'RecoveryCodesUsed', data: { name: command.name, ...(command.second !== undefined && { second: command.second }) } }];
    }
  }
}

function evolve(state: RecoveryCodesState, event: RecoveryCodesEvent): RecoveryCodesState {
  switch (event.type) {
    case 'RecoveryCodesMade':
      return event.data;
    case 'RecoveryCodesUsed':
      return { ...state, codes: [] };
    default:
      return state;
  }
}

export const recoveryCodes: Decider<RecoveryCodesCommand, RecoveryCodesState, RecoveryCodesEvent> = {
  initialState: { codes: [], validFrom: '' },
  decide,
  evolve,
};
