import { toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { operatorByToken, type SignedIn } from '../../domain/operatorCredentials.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import type { NewOperator } from '../../domain/operatorsState.ts';
import type { Role, Scope } from '../../domain/roles.ts';
import { dayMs } from '../../times.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, nowIso, stateOf } from '../base/context.ts';

/** People and their bearer tokens: 32 random bytes, of which only the SHA-256 is ever stored (I19). Changes: operatorChanges.ts. */

const tokenBytes = 32;
const tokenLifetimeDays = 365;

/** How a token is known. */
export const hashOf = (token: string): string => sha256Hex(token);

export const newToken = (ctx: Context): { readonly token: string; readonly tokenSha256: string } => {
  const token = toBase64url(ctx.randomBytes(tokenBytes));
  return { token, tokenSha256: hashOf(token) };
};

export const tokenEnd = (ctx: Context): string => new Date(ctx.clock().getTime() + tokenLifetimeDays * dayMs).toISOString();

/** Adds a person without asking a second one: the first two of a project, and those who approve nothing.
 *  @returns the token, which is shown this once @throws NusecError CONFLICT (the name is, or was, somebody's), BAD_REQUEST, RATE_LIMITED */
export async function addOperator(ctx: Context, name: string, roles: readonly Role[], by: Actor, scope?: Scope): Promise<string> {
  const { token, tokenSha256 } = newToken(ctx);
  const operator = { name, roles, tokenSha256, expiresAt: tokenEnd(ctx), ...(scope !== undefined && { scope }) };
  await execute(ctx, operators, operatorsStream, { type: 'AddOperator', ...operator }, by);
  return token;
}

/** @throws NusecError UNAUTHENTICATED, TOKEN_EXPIRED */
export async function authenticateOperator(ctx: Context, token: string): Promise<SignedIn> {
  return operatorByToken(await stateOf(ctx, operators, operatorsStream), hashOf(token), nowIso(ctx));
}

/** The same without an error: who the token belongs to by now. */
export async function personNow(ctx: Context, tokenSha256: string): Promise<SignedIn | undefined> {
  try {
    return operatorByToken(await stateOf(ctx, operators, operatorsStream), tokenSha256, nowIso(ctx));
  } catch {
    return undefined;
  }
}

export async function listOperators(ctx: Context): Promise<readonly Omit<NewOperator, 'tokenSha256'>[]> {
  const { byName } = await stateOf(ctx, operators, operatorsStream);
  return [...byName.values()].map(({ tokenSha256: _, credentials: __, ...operator }) => operator);
}

/** Never held back: each of these is something that another administrator has to see. */
export const tellOfPeople = ({ alarms }: Parts, name: string, detail: string): Promise<void> =>
  alarms.raise({ code: 'PEOPLE_CHANGED', subject: `operator-${name}`, detail }, 'always');
