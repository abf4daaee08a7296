import type { IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';
import { approveChange, type OperatorChangeCommand, proposeChange, withdrawChange } from './operatorChanges.ts';
import { type CredentialCommand, decideCredential } from './operatorCredentials.ts';
import { addOperator, removeOperator, resetToken, rotateToken, setRoles } from './operatorEffects.ts';
import { evolveOperators, type NewOperator, noOperators, type OperatorsEvent, type OperatorsState } from './operatorsState.ts';
import type { Role, Scope } from './roles.ts';
import { refuse } from './rules.ts';

/** The people: who may do what, by which token. Stream `operators`. Events carry only the SHA-256 of a token (I19);
 *  tokens are 32 random bytes, so the hash needs no salt. A name belongs to one person permanently. Who may approve the work of others comes,
 *  goes and changes only by two administrators: operatorChanges.ts. */

export const maxOperators = 1000;

/** The first four are for changes that are one person's to make, and for the start of a project. */
export type OperatorsCommand =
  | ({ readonly type: 'AddOperator' } & NewOperator)
  | { readonly type: 'RotateOperatorToken'; readonly name: string; readonly tokenSha256: string; readonly expiresAt: IsoTime }
  /** By recovery: every other credential ends too. */
  | { readonly type: 'ResetOperatorToken'; readonly name: string; readonly tokenSha256: string; readonly expiresAt: IsoTime }
  | { readonly type: 'SetOperatorRoles'; readonly name: string; readonly roles: readonly Role[]; readonly scope?: Scope }
  | { readonly type: 'RemoveOperator'; readonly name: string }
  | CredentialCommand
  | OperatorChangeCommand;

export const operatorsStream = 'operators';

/** Whether somebody is among the people, or a site is in the scope of one of them. */
export function isInUse({ byName }: OperatorsState, kind: 'operator' | 'site', name: string): boolean {
  if (kind === 'operator') return byName.has(name);
  return [...byName.values()].some(({ scope }) => scope?.sites?.includes(name));
}

function decide(command: OperatorsCommand, state: OperatorsState): readonly OperatorsEvent[] {
  const events = decideChange(command, state);
  const adds = events.some(({ type }) => type === 'OperatorAdded');
  if (adds && state.byName.size >= maxOperators) refuse('RATE_LIMITED', `at most ${maxOperators} operators`);
  return events;
}

function decideChange(command: OperatorsCommand, state: OperatorsState): readonly OperatorsEvent[] {
  switch (command.type) {
    case 'AddOperator': {
      const { type: _, ...operator } = command;
      return addOperator(operator, state);
    }
    case 'RotateOperatorToken':
      return rotateToken(command.name, command.tokenSha256, command.expiresAt, state);
    case 'ResetOperatorToken':
      return resetToken(command.name, command.tokenSha256, command.expiresAt, state);
    case 'SetOperatorRoles':
      return setRoles(command.name, command.roles, command.scope, state);
    case 'RemoveOperator':
      return removeOperator(command.name, state);
    case 'ProposeOperatorChange':
      return proposeChange(command, state);
    case 'ApproveOperatorChange':
      return approveChange(command, state);
    case 'WithdrawOperatorChange':
      return withdrawChange(command, state);
    default:
      return decideCredential(command, state);
  }
}

export const operators: Decider<OperatorsCommand, OperatorsState, OperatorsEvent> = {
  initialState: noOperators,
  decide,
  evolve: evolveOperators,
};
