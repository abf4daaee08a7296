import { toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { type Operator, operatorByToken, operators, operatorsStream, type Role } from '../../domain/operators.ts';
import { dayMs } from '../../times.ts';
import { type Context, execute, nowIso, stateOf } from '../base/context.ts';

/** People and their bearer tokens: 32 random bytes, of which only the SHA-256 is ever stored (I19). */

const tokenBytes = 32;
const tokenLifetimeDays = 365;

const hashOf = (token: string): string => sha256Hex(token);

/** @returns the token, which is shown this once */
export async function addOperator(ctx: Context, name: string, roles: readonly Role[], by: string): Promise<string> {
  const token = toBase64url(ctx.randomBytes(tokenBytes));
  const expiresAt = new Date(ctx.clock().getTime() + tokenLifetimeDays * dayMs).toISOString();
  await execute(ctx, operators, operatorsStream, { type: 'AddOperator', name, roles, tokenSha256: hashOf(token), expiresAt }, by);
  return token;
}

export async function removeOperator(ctx: Context, name: string, by: string): Promise<void> {
  await execute(ctx, operators, operatorsStream, { type: 'RemoveOperator', name }, by);
}

/** @throws NusecError UNAUTHENTICATED, TOKEN_EXPIRED */
export async function authenticateOperator(ctx: Context, token: string): Promise<Operator> {
  return operatorByToken(await stateOf(ctx, operators, operatorsStream), hashOf(token), nowIso(ctx));
}

export async function listOperators(ctx: Context): Promise<readonly Omit<Operator, 'tokenSha256'>[]> {
  const { byName } = await stateOf(ctx, operators, operatorsStream);
  return [...byName.values()].map(({ name, roles, expiresAt }) => ({ name, roles, expiresAt }));
}
