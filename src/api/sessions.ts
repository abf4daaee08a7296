import { timingSafeEqual } from 'node:crypto';
import { fromBase64url, toBase64url, utf8 } from '../bytes.ts';
import { sha256Hex } from '../digest.ts';
import { endedSession, endedSessionStream } from '../domain/endedSession.ts';
import { operatorInSession, type SignedIn } from '../domain/operatorCredentials.ts';
import { operators, operatorsStream } from '../domain/operators.ts';
import type { Role } from '../domain/roles.ts';
import { isPast } from '../domain/rules.ts';
import { ensureKey } from '../keystore/ensureKey.ts';
import { personNow } from '../services/administration/operators.ts';
import { type Context, execute, nowIso, stateOf } from '../services/base/context.ts';
import { hourMs } from '../times.ts';

/** Signed-in browsers and commands. A session says who, by which credential and until when, and is sealed by a key of the keystore: every process can
 *  verify it, and nobody who has only the log can make one. Who that person is now is asked at every request, so a session ends with the person, with
 *  the credential and with its role. */

export const sessionCookie = '__Host-nusec';
const keyId = 'console-session/1';
const maxSealedChars = 2048;

/** The cookie of a browser, or what `nusec login` keeps: neither counts as the other. */
type Use = 'console' | 'command';
const sessionHours: Readonly<Record<Use, number>> = { console: 8, command: 12 };

/** By a token; with an identity: by an OpenID provider, whose groups stand for these roles. */
export type SessionOf = {
  readonly name: string;
  readonly tokenSha256: string;
  readonly identityId?: string;
  readonly mapped?: readonly Role[];
};

/** @returns the text of a session that begins now */
export const openSession = (ctx: Context, of: SessionOf, use: Use = 'console'): Promise<string> =>
  seal(ctx, `${use} session`, claimOf(of), sessionHours[use] * hourMs);

/** Who asks. `session`: what it was opened with, where there is one. */
export type Person = { readonly kind: 'operator'; readonly session?: SessionOf } & SignedIn;

/** The person of a session, as the log has that person now; undefined when it is no session, or has ended. */
export async function findSession(ctx: Context, text: string | undefined, use: Use = 'console'): Promise<Person | undefined> {
  const claim = await unseal<SessionOf>(ctx, `${use} session`, text);
  if (claim === undefined || (await stateOf(ctx, endedSession, endedStream(text ?? ''))).isEnded) return undefined;
  const person = await personOf(ctx, claim);
  return person?.name === claim.name ? { kind: 'operator', ...person, session: claimOf(claim) } : undefined;
}

/** By what is sealed, and not by the seal, which has more than one spelling in base64url. */
const endedStream = (text: string): string => endedSessionStream(sha256Hex(text.split('.')[0] ?? ''));

/** No copy of its cookie counts any more, at any process and after any restart. */
export async function endSession(ctx: Context, text: string | undefined): Promise<void> {
  const claim = await unseal<SessionOf>(ctx, 'console session', text);
  if (text === undefined || claim === undefined || (await findSession(ctx, text)) === undefined) return;
  await execute(ctx, endedSession, endedStream(text), { type: 'EndSession', until: claim.until }, `operator:${claim.name}`);
}

/** Whom a session is of, as the log has that person now. */
const personOf = async (ctx: Context, { name, tokenSha256, identityId, mapped = [] }: SessionOf) =>
  identityId === undefined
    ? personNow(ctx, tokenSha256)
    : operatorInSession(await stateOf(ctx, operators, operatorsStream), name, tokenSha256, identityId, mapped);

/** No more than this is sealed and handed on. */
const claimOf = ({ name, tokenSha256, identityId, mapped }: SessionOf): SessionOf => ({
  ...{ name, tokenSha256 },
  ...(identityId !== undefined && { identityId }),
  ...(mapped !== undefined && { mapped }),
});

/** Whether a person may go on as at the beginning of something long: same roles, same scope, and signed in still. */
export async function isStill(ctx: Context, { name, roles, scope, tokenSha256, session }: Person): Promise<boolean> {
  const now = await personOf(ctx, { ...session, name, tokenSha256 });
  return now?.name === name && JSON.stringify([now.roles, now.scope]) === JSON.stringify([roles, scope]);
}

/** Something that this server says and takes back later, for one purpose and a time. @returns URL-safe text */
export async function seal(ctx: Context, purpose: string, content: object, lifetimeMs: number): Promise<string> {
  await ensureKey(ctx.keystore, keyId, 'AES-256');
  const until = new Date(ctx.clock().getTime() + lifetimeMs).toISOString();
  const claim = toBase64url(utf8(JSON.stringify({ ...content, until })));
  return `${claim}.${toBase64url(await sealOf(ctx, purpose, claim))}`;
}

type Sealed<Content> = Content & { readonly until: string };

/** @returns undefined unless this server has sealed it for this purpose, and its time is not over */
export async function unseal<Content>(ctx: Context, purpose: string, text: string | undefined): Promise<Sealed<Content> | undefined> {
  const [, claim = '', mark = ''] = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})$/.exec((text ?? '').slice(0, maxSealedChars)) ?? [];
  if (claim === '' || !(await isSealed(ctx, purpose, claim, mark))) return undefined;
  const content = JSON.parse(new TextDecoder().decode(fromBase64url(claim))) as Sealed<Content>;
  return isPast(content.until, nowIso(ctx)) ? undefined : content;
}

const sealOf = (ctx: Context, purpose: string, claim: string): Promise<Uint8Array> => ctx.keystore.mac(keyId, utf8(`${purpose} ${claim}`));

async function isSealed(ctx: Context, purpose: string, claim: string, mark: string): Promise<boolean> {
  if (!(await ctx.keystore.list()).some(({ id }) => id === keyId)) return false;
  const [expected, given] = [await sealOf(ctx, purpose, claim), fromBase64url(mark)];
  return given.length === expected.length && timingSafeEqual(given, expected);
}
