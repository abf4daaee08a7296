import type { Actor, IsoTime } from './actor.ts';
import { type ApprovedContent, contentOfApproval } from './approval.ts';
import { contentText } from './contentText.ts';
import type { Of } from './decider.ts';
import { bindIdentity } from './operatorCredentials.ts';
import { addOperator, administratorsOf, endCredentials, operatorOf, removeOperator, resetToken, setRoles } from './operatorEffects.ts';
import {
  credentialsOf,
  evolveOperators,
  type KnownChange,
  type OperatorChange,
  type OperatorsEvent,
  type OperatorsState,
} from './operatorsState.ts';
import { isWaiting, requireWaiting } from './proposals.ts';
import { needsTwo } from './roles.ts';
import { isPast, refuse, requireOtherPerson } from './rules.ts';

/** Changes among the people who may approve: proposed by one administrator, executed when another approves (I16). A person who could make,
 *  rename or impersonate an approver alone would have two pairs of eyes. A change: PROPOSED → DONE | WITHDRAWN. */

export type OperatorChangeCommand =
  | {
      readonly type: 'ProposeOperatorChange';
      readonly id: string;
      readonly change: OperatorChange;
      readonly by: Actor;
      readonly now: IsoTime;
      readonly notBefore?: string;
    }
  /** `tokenSha256` when the proposal has none; `expiresAt` of the token that the change may bring. */
  | {
      readonly type: 'ApproveOperatorChange';
      readonly id: string;
      readonly by: Actor;
      readonly now: IsoTime;
      readonly tokenSha256?: string;
      readonly expiresAt: IsoTime;
      readonly content?: ApprovedContent;
    }
  | { readonly type: 'WithdrawOperatorChange'; readonly id: string; readonly by: Actor; readonly now: IsoTime };

/** Waiting for an approval at the same time. */
export const maxOpenChanges = 20;
const maxChanges = 10_000;
/** The owner of the server's data folder, when there are too few administrators left. */
export const recoveryActor = 'system:recovery';

/** Whether a change is one person's to make: nobody who may approve comes, goes or is touched by it. */
export function isForOne(change: OperatorChange, state: OperatorsState): boolean {
  const before = state.byName.get(change.name)?.roles ?? [];
  const after = 'roles' in change ? change.roles : [];
  return !needsTwo(before) && !needsTwo(after);
}

/** @throws NusecError NOT_FOUND */
export function changeOf(state: OperatorsState, id: string): KnownChange {
  return state.changes.get(id) ?? refuse('NOT_FOUND', 'there is no such change');
}

/** The proposal is tried out: a change that could not be executed is not proposed. */
export function proposeChange(
  { id, change, by, now: at, notBefore }: Of<OperatorChangeCommand, 'ProposeOperatorChange'>,
  state: OperatorsState,
): readonly OperatorsEvent[] {
  if (state.changes.has(id)) return [];
  const open = [...state.changes.values()].filter(known => isOpen(known, at));
  if (open.some(known => known.change.name === change.name)) refuse('CONFLICT', `a change of ${change.name} is proposed already`);
  if (open.length >= maxOpenChanges || state.changes.size >= maxChanges) refuse('RATE_LIMITED', 'too many changes');
  effectOf(change, 'tokenSha256' in change ? (change.tokenSha256 ?? '') : '', at, state);
  return [{ type: 'OperatorChangeProposed', data: { id, change, by, at, ...(notBefore !== undefined && { notBefore }) } }];
}

const isOpen = ({ status, proposedAt }: KnownChange, now: IsoTime): boolean => status === 'PROPOSED' && isWaiting(proposedAt, now);

/** What an approval approves, as one text. Equal texts are equal content. */
export function operatorChangeContent({ id, change, proposedBy }: KnownChange): string {
  const { type, name } = change;
  const rights =
    'roles' in change ? [change.roles, change.scope?.lines ?? null, change.scope?.jobs ?? null, change.scope?.sites ?? null] : [];
  const identity = 'identity' in change && change.identity !== undefined ? [change.identity.issuer, change.identity.subject] : [];
  const token = 'tokenSha256' in change ? (change.tokenSha256 ?? null) : null;
  const ended = 'authenticatorId' in change ? [change.authenticatorId] : [];
  return contentText([id, proposedBy, type, name, rights, token, ...(identity.length > 0 ? [identity] : []), ...ended]);
}

export function approveChange(
  { id, by, now: at, tokenSha256, expiresAt, content }: Of<OperatorChangeCommand, 'ApproveOperatorChange'>,
  state: OperatorsState,
): readonly OperatorsEvent[] {
  const known = changeOf(state, id);
  const approved = contentOfApproval(content, operatorChangeContent(known));
  if (known.status === 'DONE' && known.approvedBy === by) return [];
  if (known.status !== 'PROPOSED') refuse('STATE', `the change is ${known.status}`);
  requireWaiting(known.proposedAt, at, 'the change');
  if (known.proposedBy === recoveryActor) requireRecoveryTime(known, by, at);
  else requireOtherPerson(known.proposedBy, by, 'approving a change of people');
  const effect = effectOf(known.change, tokenOf(known.change, tokenSha256), expiresAt, state, id);
  return [{ type: 'OperatorChangeApproved', data: { id, by, at, ...approved } }, ...effect];
}

/** A recovery has no second person. It has waited instead, and nobody has withdrawn it. */
function requireRecoveryTime({ notBefore }: KnownChange, by: Actor, now: IsoTime): void {
  if (by !== recoveryActor) refuse('FOUR_EYES_REQUIRED', 'a recovery is executed on the server’s own machine; you may withdraw it');
  if (notBefore === undefined || !isPast(notBefore, now)) refuse('STATE', `the recovery waits for objections until ${notBefore}`);
}

/** The person alone has the token; its hash came with the proposal, with the approval, or the same with both. */
function tokenOf(change: OperatorChange, told: string | undefined): string {
  if (change.type !== 'add' && change.type !== 'resetToken') return '';
  if (change.tokenSha256 !== undefined && told !== undefined && change.tokenSha256 !== told)
    refuse('CONFLICT', 'the proposal names another token');
  return change.tokenSha256 ?? told ?? refuse('BAD_REQUEST', `the SHA-256 of the token of ${change.name} is missing`);
}

function effectOf(
  change: OperatorChange,
  tokenSha256: string,
  expiresAt: IsoTime,
  state: OperatorsState,
  identityId?: string,
): readonly OperatorsEvent[] {
  switch (change.type) {
    case 'add': {
      const { name, roles, scope, identity } = change;
      if (state.byName.has(name)) refuse('CONFLICT', 'this name is taken');
      const added = addOperator({ name, roles, tokenSha256, expiresAt, ...(scope !== undefined && { scope }) }, state);
      if (identity === undefined) return added;
      return [...added, ...bindIdentity({ ...identity, name, id: identityId ?? '' }, added.reduce(evolveOperators, state))];
    }
    case 'setRoles':
      requireTwoAdministrators(change.name, change.roles.includes('administrator'), state);
      return setRoles(change.name, change.roles, change.scope, state);
    case 'resetToken':
      return resetToken(change.name, tokenSha256, expiresAt, state);
    case 'endAuthenticator': {
      const kept = credentialsOf(operatorOf(state, change.name)).map(({ id }) => id);
      if (!kept.includes(change.authenticatorId)) refuse('NOT_FOUND', `${change.name} has no authenticator ${change.authenticatorId}`);
      return endCredentials(
        change.name,
        kept.filter(id => id !== change.authenticatorId),
        state,
      );
    }
    case 'remove':
      operatorOf(state, change.name);
      requireTwoAdministrators(change.name, false, state);
      return removeOperator(change.name, state);
  }
}

/** Fewer than two could approve nothing any more. */
function requireTwoAdministrators(name: string, staysOne: boolean, state: OperatorsState): void {
  const isOne = operatorOf(state, name).roles.includes('administrator');
  if (isOne && !staysOne && administratorsOf(state).length <= 2) refuse('STATE', 'two administrators must remain');
}

export function withdrawChange(
  { id, by, now: at }: Of<OperatorChangeCommand, 'WithdrawOperatorChange'>,
  state: OperatorsState,
): readonly OperatorsEvent[] {
  const { status } = changeOf(state, id);
  if (status === 'WITHDRAWN') return [];
  if (status !== 'PROPOSED') refuse('STATE', `the change is ${status}`);
  return [{ type: 'OperatorChangeWithdrawn', data: { id, by, at } }];
}
