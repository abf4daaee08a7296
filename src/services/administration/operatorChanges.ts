import { isDeepStrictEqual } from 'node:util';
import { counted } from '../../counted.ts';
import type { Actor } from '../../domain/actor.ts';
import { changeOf, isForOne, operatorChangeContent, recoveryActor } from '../../domain/operatorChanges.ts';
import { type OperatorsCommand, operators, operatorsStream } from '../../domain/operators.ts';
import type { KnownChange, OperatorChange, OperatorsState } from '../../domain/operatorsState.ts';
import { recoveryDelayHours } from '../../domain/recoveryCodes.ts';
import { type Scope, scopeText } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import { hourMs } from '../../times.ts';
import type { Parts } from '../base/alarms.ts';
import { type Approval, approve } from '../base/approval.ts';
import { always, type Condition, type Context, executeIf, newHexId, nowIso, stateOf } from '../base/context.ts';
import { newToken, tellOfPeople, tokenEnd } from './operators.ts';

/** Changes among the people (I16). A person who may approve the work of others is added, changed, given a new token and removed by two
 *  administrators; others by one. Every change, and every proposal of one, is an alarm: the other administrators get to know.
 *
 *  A token is made by the person it is for, who gives its SHA-256 to the administrators: so nobody else ever has it. */

/** Done by one person, with the token that was made for it; or proposed. */
export type ChangeAnswer = { readonly token?: string } | { readonly proposal: KnownChange };

type RolesChange = Extract<OperatorChange, { readonly type: 'setRoles' }>;
/** As it is asked for: other roles without a scope keep the one that the person has, null drops it. */
export type OperatorWish = Exclude<OperatorChange, RolesChange> | (Omit<RolesChange, 'scope'> & { readonly scope?: Scope | null });

/** @throws NusecError CONFLICT, NOT_FOUND, STATE (the last administrators), RATE_LIMITED */
export async function changeOperator(parts: Parts, wish: OperatorWish, by: Actor): Promise<ChangeAnswer> {
  const { ctx } = parts;
  const before = await stateOf(ctx, operators, operatorsStream);
  const change = changeFor(wish, before);
  if (!isForOne(change, before)) return { proposal: await propose(parts, change, by) };
  const told = 'tokenSha256' in change ? change.tokenSha256 : undefined;
  const made = needsToken(change) && told === undefined ? newToken(ctx) : undefined;
  // What is one person's to do must still be so when it is stored: the other may have got another role.
  const condition: Condition = async read => {
    const now = await read(operators, operatorsStream);
    if (!isForOne(change, now)) throw new NusecError('FOUR_EYES_REQUIRED', `a change of ${change.name} needs two administrators now`);
    if (!isDeepStrictEqual(changeFor(wish, now), change))
      throw new NusecError('CONFLICT', `${change.name} has got another scope meanwhile`);
  };
  await run(ctx, commandOf(ctx, change, told ?? made?.tokenSha256 ?? ''), by, condition);
  await tellOfPeople(parts, change.name, `${by} alone: ${describe(change)}`);
  return made === undefined ? {} : { token: made.token };
}

/** What a wish comes to for the person as it is. */
function changeFor(wish: OperatorWish, { byName }: OperatorsState): OperatorChange {
  if (wish.type !== 'setRoles') return wish;
  const { scope: wanted, ...change } = wish;
  const scope = wanted === undefined ? byName.get(wish.name)?.scope : wanted;
  return scope ? { ...change, scope } : change;
}

const needsToken = ({ type }: OperatorChange): boolean => type === 'add' || type === 'resetToken';

function commandOf(ctx: Context, change: OperatorChange, tokenSha256: string): OperatorsCommand {
  const { name } = change;
  switch (change.type) {
    case 'add': {
      const { type: _, identity, ...operator } = change;
      if (identity !== undefined) throw new NusecError('BAD_REQUEST', 'who approves nothing comes by signing in, and is not added first');
      return { type: 'AddOperator', ...operator, tokenSha256, expiresAt: tokenEnd(ctx) };
    }
    case 'setRoles':
      return { ...change, type: 'SetOperatorRoles' };
    case 'resetToken':
      return { type: 'ResetOperatorToken', name, tokenSha256, expiresAt: tokenEnd(ctx) };
    case 'endAuthenticator':
      return { type: 'EndOperatorCredential', name, id: change.authenticatorId };
    case 'remove':
      return { type: 'RemoveOperator', name };
  }
}

async function propose(parts: Parts, change: OperatorChange, by: Actor, notBefore?: string): Promise<KnownChange> {
  const { ctx } = parts;
  const id = newHexId(ctx);
  const command = {
    type: 'ProposeOperatorChange',
    id,
    change,
    by,
    now: nowIso(ctx),
    ...(notBefore !== undefined && { notBefore }),
  } as const;
  const { state } = await run(ctx, command, by);
  const when = notBefore === undefined ? '' : `, from ${notBefore} on unless withdrawn`;
  await tellOfPeople(parts, change.name, `${by} proposes to ${describe(change)}${when} (${id})`);
  return changeOf(state, id);
}

/** Approves and executes. @param tokenSha256 as the person gave it to the approver; needed when the proposal has none
 *  @throws NusecError FOUR_EYES_REQUIRED, STATE, CONFLICT, BAD_REQUEST (no token) */
export async function approveOperatorChange(
  parts: Parts,
  id: string,
  by: Actor,
  tokenSha256: string | undefined,
  approval?: Approval,
): Promise<KnownChange> {
  const { ctx } = parts;
  const { changes } = await stateOf(ctx, operators, operatorsStream);
  const given = tokenSha256 ?? tokenOfNobody(ctx, changes.get(id)?.change);
  const { state, events } = await approve(
    ctx,
    {
      decider: operators,
      stream: operatorsStream,
      content: async () => operatorChangeContent(changeOf(await stateOf(ctx, operators, operatorsStream), id)),
      command: content => ({
        type: 'ApproveOperatorChange' as const,
        id,
        by,
        now: nowIso(ctx),
        expiresAt: tokenEnd(ctx),
        ...(given !== undefined && { tokenSha256: given }),
        content,
      }),
    },
    by,
    approval,
  );
  const done = changeOf(state, id);
  if (events.length > 0) await tellOfPeople(parts, done.change.name, `${done.proposedBy} and ${by}: ${describe(done.change)}`);
  return done;
}

/** Somebody who signs in by a provider needs no main token: it gets one that nobody has. */
function tokenOfNobody(ctx: Context, change: OperatorChange | undefined): string | undefined {
  const needsOne = change?.type === 'add' && change.identity !== undefined && change.tokenSha256 === undefined;
  return needsOne ? newToken(ctx).tokenSha256 : undefined;
}

export async function withdrawOperatorChange(parts: Parts, id: string, by: Actor): Promise<KnownChange> {
  const { state, events } = await run(parts.ctx, { type: 'WithdrawOperatorChange', id, by, now: nowIso(parts.ctx) }, by);
  const known = changeOf(state, id);
  if (events.length > 0) await tellOfPeople(parts, known.change.name, `${by} withdraws: ${describe(known.change)}`);
  return known;
}

/** Newest first. */
export async function listOperatorChanges(ctx: Context): Promise<readonly KnownChange[]> {
  return [...(await stateOf(ctx, operators, operatorsStream)).changes.values()].reverse();
}

/** One's own next token: the one before it, and every session it opened, end with this.
 *  @param tokenSha256 of a token that the person made itself; otherwise one is made and given back
 *  @throws NusecError CONFLICT (the token is, or was, somebody's) */
export async function rotateOwnToken(parts: Parts, name: string, tokenSha256: string | undefined, by: Actor): Promise<string | undefined> {
  const { ctx } = parts;
  const made = tokenSha256 === undefined ? newToken(ctx) : undefined;
  await run(ctx, { type: 'RotateOperatorToken', name, tokenSha256: tokenSha256 ?? made?.tokenSha256 ?? '', expiresAt: tokenEnd(ctx) }, by);
  await tellOfPeople(parts, name, `${by} has changed the own token`);
  return made?.token;
}

/** Begins a recovery, on the server's own machine: one more administrator, or a new token for one, when too few are left to approve it.
 *  @returns the proposal, to be finished after the delay unless an administrator withdraws it */
export async function beginRecovery(parts: Parts, name: string, tokenSha256: string): Promise<KnownChange> {
  const { ctx } = parts;
  const isKnown = (await stateOf(ctx, operators, operatorsStream)).byName.has(name);
  const change: OperatorChange = isKnown
    ? { type: 'resetToken', name, tokenSha256 }
    : { type: 'add', name, roles: ['administrator'], tokenSha256 };
  const notBefore = new Date(ctx.clock().getTime() + recoveryDelayHours * hourMs).toISOString();
  return propose(parts, change, recoveryActor, notBefore);
}

/** @throws NusecError STATE (before its time, withdrawn, too old) */
export const finishRecovery = (parts: Parts, id: string): Promise<KnownChange> =>
  approveOperatorChange(parts, id, recoveryActor, undefined);

const run = (ctx: Context, command: OperatorsCommand, by: Actor, condition: Condition = always) =>
  executeIf(ctx, condition, operators, operatorsStream, command, by);

function describe(change: OperatorChange): string {
  const { name } = change;
  switch (change.type) {
    case 'add':
      return `add ${name} as ${change.roles.join(', ')}, ${reachOf(change.scope)}`;
    case 'setRoles':
      return `make ${name} ${change.roles.join(', ')}, ${reachOf(change.scope)}`;
    case 'resetToken':
      return `give ${name} another token`;
    case 'endAuthenticator':
      return `end the authenticator ${change.authenticatorId} of ${name}`;
    case 'remove':
      return `remove ${name}`;
  }
}

/** Sites are counted: a text about a person does not name others. */
function reachOf(scope: Scope | undefined): string {
  const { sites, ...named } = scope ?? {};
  const limits = [scopeText(named), sites && counted(sites.length, 'site')].filter(Boolean);
  return limits.length === 0 ? 'everywhere' : `limited to ${limits.join('; ')}`;
}
