import { timingSafeEqual } from 'node:crypto';
import { fromBase64url, isBase64url, toBase64url, utf8 } from '../bytes.ts';
import { definedOf } from '../defined.ts';
import type { SignedIn } from '../domain/operatorCredentials.ts';
import { isPast, timeAfter } from '../domain/rules.ts';
import { type Session, type SessionOf, type SessionUse, sessions, sessionsStream } from '../domain/sessions.ts';
import { ensureKey } from '../keystore/ensureKey.ts';
import { personNow } from '../services/administration/operators.ts';
import { holderNow } from '../services/administration/sessions.ts';
import { type Context, execute, newHexId, nowIso, stateOf } from '../services/base/context.ts';
import { hourMs } from '../times.ts';

/** Signed-in browsers and commands. What they hold names a session of somebody, and is sealed by a key of the keystore: nobody who has only the log can
 *  make one. Who opened it, from where and until when is in the log, and so is its end. It is asked at every request, and so is who that person is now: a
 *  session ends with the person, with the credential and with its role. */

export const sessionCookie = '__Host-nusec';
const keyId = 'console-session/1';
const maxSealedChars = 2048;

const sessionHours: Readonly<Record<SessionUse, number>> = { console: 8, command: 12 };

/** Where a session was begun. */
export type Origin = { readonly address?: string | undefined; readonly agent?: string | undefined };

type Claim = { readonly name: string; readonly id: string };

/** @returns the text of a session that begins now */
export async function openSession(ctx: Context, of: SessionOf, from: Origin, use: SessionUse = 'console'): Promise<string> {
  const { name, tokenSha256, identityId, mapped } = of;
  const id = newHexId(ctx);
  const [at, until] = [nowIso(ctx), timeAfter(nowIso(ctx), sessionHours[use] * hourMs)];
  const session = { id, use, at, until, tokenSha256, ...definedOf({ identityId, mapped, ...from }) };
  await execute(ctx, sessions, sessionsStream(name), { type: 'BeginSession', ...session }, `operator:${name}`);
  return seal(ctx, `${use} session`, { name, id } satisfies Claim, sessionHours[use] * hourMs);
}

/** Who asks, and until when that credential counts by itself. `session`: where there is one. */
export type Person = { readonly kind: 'operator'; readonly session?: Session } & SignedIn;
export type PersonInSession = Person & { readonly session: Session };

/** The person of a session, as the log has that person now; undefined when it is no session, or has ended. */
export async function findSession(
  ctx: Context,
  text: string | undefined,
  use: SessionUse = 'console',
): Promise<PersonInSession | undefined> {
  const claim = await unseal<Claim>(ctx, `${use} session`, text);
  return claim === undefined ? undefined : personIn(ctx, claim);
}

async function personIn(ctx: Context, { name, id }: Claim): Promise<PersonInSession | undefined> {
  const { open } = await stateOf(ctx, sessions, sessionsStream(name));
  const session = open.find(known => known.id === id);
  const person = session && (await holderNow(ctx, name, session));
  return person && { kind: 'operator', ...person, session };
}

/** No copy of its cookie counts any more, at any process and after any restart. */
export async function endSession(ctx: Context, text: string | undefined): Promise<void> {
  const claim = await unseal<Claim>(ctx, 'console session', text);
  if (claim === undefined || (await personIn(ctx, claim)) === undefined) return;
  await execute(ctx, sessions, sessionsStream(claim.name), { type: 'EndSession', id: claim.id }, `operator:${claim.name}`);
}

/** Says of a person, time after time, whether what was begun may go on: same roles, same scope, and signed in still. Asks the log again when it has
 *  grown, as every end before its time is an event. */
export function stillSignedIn(ctx: Context, person: Person): () => Promise<boolean> {
  let [askedAt, isStill] = [-1, true];
  return async () => {
    if (isPast(person.until, nowIso(ctx))) return false;
    const seen = ctx.store.seen();
    if (isStill && seen !== askedAt) [askedAt, isStill] = [seen, rightsOf(await personAgain(ctx, person)) === rightsOf(person)];
    return isStill;
  };
}

const personAgain = (ctx: Context, { name, tokenSha256, session }: Person): Promise<SignedIn | undefined> =>
  session === undefined ? personNow(ctx, tokenSha256) : personIn(ctx, { name, id: session.id });

const rightsOf = (person: SignedIn | undefined): string => JSON.stringify([person?.name, person?.roles, person?.scope]);

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
  // A seal has one spelling: another one would be a second text of the same session.
  if (claim === '' || !isBase64url(mark) || !(await isSealed(ctx, purpose, claim, mark))) return undefined;
  const content = JSON.parse(new TextDecoder().decode(fromBase64url(claim))) as Sealed<Content>;
  return isPast(content.until, nowIso(ctx)) ? undefined : content;
}

const sealOf = (ctx: Context, purpose: string, claim: string): Promise<Uint8Array> => ctx.keystore.mac(keyId, utf8(`${purpose} ${claim}`));

async function isSealed(ctx: Context, purpose: string, claim: string, mark: string): Promise<boolean> {
  if (!(await ctx.keystore.list()).some(({ id }) => id === keyId)) return false;
  const [expected, given] = [await sealOf(ctx, purpose, claim), fromBase64url(mark)];
  return given.length === expected.length && timingSafeEqual(given, expected);
}
