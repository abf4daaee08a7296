import type { Actor } from '../../domain/actor.ts';
import { operatorOf } from '../../domain/operatorEffects.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { type Credential, credentialsOf } from '../../domain/operatorsState.ts';
import type { Role, Scope } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import { dayMs } from '../../times.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, newHexId, nowIso, stateOf } from '../base/context.ts';
import { newToken, tellOfPeople } from './operators.ts';
import type { TokenUse } from './tokenUse.ts';

/** Named tokens of people and service accounts: listed and ended one by one. */

/** As people see it. */
export type ShownCredential = {
  readonly id: string;
  readonly kind: Credential['kind'];
  readonly label: string;
  readonly expiresAt?: string;
  readonly roles?: readonly Role[];
  readonly scope?: Scope;
  readonly lastUsedAt?: string;
};
export type TokenWish = {
  readonly label: string;
  readonly days: number;
  readonly roles?: readonly Role[] | undefined;
  readonly scope?: Scope | undefined;
  readonly tokenSha256?: string | undefined;
};

/** The main token is the first; it is changed, not ended. */
const mainTokenId = 'main';

/** @throws NusecError NOT_FOUND */
export async function listCredentials(ctx: Context, use: TokenUse, name: string): Promise<readonly ShownCredential[]> {
  const operator = operatorOf(await stateOf(ctx, operators, operatorsStream), name);
  const usedAt = (tokenSha256: string) => {
    const lastUsedAt = use.last(tokenSha256);
    return lastUsedAt === undefined ? {} : { lastUsedAt };
  };
  const { tokenSha256, expiresAt } = operator;
  return [
    { id: mainTokenId, kind: 'token', label: 'main token', expiresAt, ...usedAt(tokenSha256) },
    ...credentialsOf(operator).map(one => {
      if (one.kind === 'authenticator') return { id: one.id, kind: one.kind, label: `${one.label} at ${one.rpId}` };
      if (one.kind === 'identity') return { id: one.id, kind: one.kind, label: `${one.subject} at ${one.issuer}` };
      const { tokenSha256: hash, ...shown } = one;
      return { ...shown, ...usedAt(hash) };
    }),
  ];
}

/** @returns the token, unless the person has made it @throws NusecError BAD_REQUEST, FORBIDDEN (a role that the person has not), CONFLICT, RATE_LIMITED */
export async function addNamedToken(
  parts: Parts,
  name: string,
  { label, days, roles, scope, tokenSha256 }: TokenWish,
  by: Actor,
): Promise<{ readonly id: string; readonly token?: string }> {
  const { ctx } = parts;
  const made = tokenSha256 === undefined ? newToken(ctx) : undefined;
  const id = newHexId(ctx);
  const limits = { ...(roles !== undefined && { roles }), ...(scope !== undefined && { scope }) };
  const token = { id, label, tokenSha256: tokenSha256 ?? made?.tokenSha256 ?? '', ...limits };
  const expiresAt = new Date(ctx.clock().getTime() + days * dayMs).toISOString();
  await execute(ctx, operators, operatorsStream, { type: 'AddOperatorToken', name, ...token, expiresAt, now: nowIso(ctx) }, by);
  await tellOfPeople(parts, name, `${by} has one more token, ${id}`);
  return { id, ...(made !== undefined && { token: made.token }) };
}

/** @throws NusecError NOT_FOUND, CONFLICT (the main token) */
export async function endCredential(parts: Parts, name: string, id: string, by: Actor): Promise<void> {
  const { ctx } = parts;
  if (id === mainTokenId) throw new NusecError('CONFLICT', 'the main token does not end alone: it is changed for another one');
  const operator = operatorOf(await stateOf(ctx, operators, operatorsStream), name);
  if (!credentialsOf(operator).some(known => known.id === id)) throw new NusecError('NOT_FOUND', `${name} has no token ${id}`);
  await execute(ctx, operators, operatorsStream, { type: 'EndOperatorCredential', name, id }, by);
  await tellOfPeople(parts, name, `${by} has ended the token ${id} of ${name}`);
}
