import { timingSafeEqual } from 'node:crypto';
import { fromBase64url, toBase64url, utf8 } from '../bytes.ts';
import { isPast } from '../domain/rules.ts';
import { ensureKey } from '../keystore/ensureKey.ts';
import { personNow } from '../services/administration/operators.ts';
import { type Context, nowIso } from '../services/base/context.ts';
import { hourMs } from '../times.ts';
import type { Person } from './auth.ts';

/** Signed-in browsers. The cookie says who, by which token and until when, and is sealed by a key of the keystore: every process can verify it,
 *  and nobody who has only the log can make one. Who that person is now is asked at every request, so a session ends with the person, with
 *  the token and with its role. */

export const sessionCookie = '__Host-nusec';
const sessionMs = 8 * hourMs;
const keyId = 'console-session/1';
const maxCookieChars = 1024;

type Claim = { readonly name: string; readonly tokenSha256: string; readonly until: string };

/** @returns the cookie of a session that begins now */
export async function openSession(ctx: Context, { name, tokenSha256 }: Omit<Claim, 'until'>): Promise<string> {
  await ensureKey(ctx.keystore, keyId, 'AES-256');
  const until = new Date(ctx.clock().getTime() + sessionMs).toISOString();
  const claim = toBase64url(utf8(JSON.stringify({ name, tokenSha256, until } satisfies Claim)));
  return `${claim}.${toBase64url(await sealOf(ctx, claim))}`;
}

/** The person of a session, as the log has that person now; undefined when it is no session, or has ended. */
export async function findSession(ctx: Context, cookie: string | undefined): Promise<Person | undefined> {
  const [, claim = '', seal = ''] = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})$/.exec((cookie ?? '').slice(0, maxCookieChars)) ?? [];
  if (claim === '' || !(await isSealed(ctx, claim, seal))) return undefined;
  const { name, tokenSha256, until } = JSON.parse(new TextDecoder().decode(fromBase64url(claim))) as Claim;
  if (isPast(until, nowIso(ctx))) return undefined;
  const person = await personNow(ctx, tokenSha256);
  return person?.name === name ? { kind: 'operator', ...person } : undefined;
}

const sealOf = (ctx: Context, claim: string): Promise<Uint8Array> => ctx.keystore.mac(keyId, utf8(`console session ${claim}`));

async function isSealed(ctx: Context, claim: string, seal: string): Promise<boolean> {
  if (!(await ctx.keystore.list()).some(({ id }) => id === keyId)) return false;
  const [expected, given] = [await sealOf(ctx, claim), fromBase64url(seal)];
  return given.length === expected.length && timingSafeEqual(given, expected);
}
