import type { Context as HonoContext } from 'hono';
import { fromBase64url, utf8 } from '../bytes.ts';
import { sha256, sha256Hex } from '../digest.ts';
import { NusecError } from '../errors.ts';
import {
  authenticatorsNow,
  type BrowserAnswer,
  type Challenge,
  type ConsolePlace,
  useAuthenticator,
} from '../services/administration/authenticators.ts';
import { type Context, newHexId } from '../services/base/context.ts';
import { minuteMs } from '../times.ts';
import type { ApiEnv, Confirmations } from './auth.ts';
import { seal, unseal } from './sessions.ts';

/** Approvals that a person confirms with an authenticator. What is confirmed is one request: its path and its body, which names the hash of the
 *  content that was looked at. A challenge is sealed by this server and kept nowhere, so any process takes what another has given. */

/** Where somebody is the second pair of eyes, or adds an authenticator to those that there are. */
const confirmedPath = /^\/v1\/(.+\/approve|jobs\/[^/]+\/release|log\/parked|subjects\/[^/]+\/erase|operators\/me\/authenticators)$/;
export const isConfirmed = (path: string): boolean => confirmedPath.test(path);
/** What is approved there is fixed by the body itself, or the same request proposes it. */
const fixedContent = /log\/parked|subjects|authenticators|gateways\/[^/]+\/csr|well-known\/est/;

/** The setting `confirmApprovals`. */
type ConfirmApprovals = 'registered' | 'always' | 'never';

const challengeMs = 5 * minuteMs;
const maxHeaderChars = 8192;

/** What a challenge was made for. */
type Purpose = ConsolePlace & { readonly name: string; readonly target: string; readonly bodySha256: string };
export type Sealed = { readonly text: string; readonly challenge: Challenge };

/** @param target `POST` and the path */
export async function newChallenge(ctx: Context, purpose: Purpose): Promise<Sealed> {
  const text = await seal(ctx, 'confirmation', { ...purpose, nonce: newHexId(ctx) }, challengeMs);
  return { text, challenge: challengeOf(text) };
}

/** @throws NusecError CONFIRMATION_REFUSED unless it was made for this and is not too old */
export async function openChallenge(
  ctx: Context,
  text: string,
  wanted: Omit<Purpose, keyof ConsolePlace>,
): Promise<{ readonly challenge: Challenge; readonly place: ConsolePlace }> {
  const found = await unseal<Purpose>(ctx, 'confirmation', text);
  if (found === undefined) throw new NusecError('CONFIRMATION_REFUSED', 'the confirmation was not begun here, or is too old: begin again');
  const isSame = found.name === wanted.name && found.target === wanted.target && found.bodySha256 === wanted.bodySha256;
  if (!isSame) throw new NusecError('CONFIRMATION_REFUSED', 'the confirmation is for something else');
  return { challenge: challengeOf(text), place: { origin: found.origin, rpId: found.rpId } };
}

const challengeOf = (text: string): Challenge => new Uint8Array(sha256(utf8(text)));

/** As the browser sees this server. */
export function placeOf(c: HonoContext<ApiEnv>): ConsolePlace {
  const { host, origin } = new URL(`https://${c.env.incoming.headers.host ?? 'localhost'}`);
  return { origin, rpId: host.replace(/:\d+$/, '') };
}

/** @param mode whose approvals are confirmed */
export function createConfirmations(ctx: Context, mode: ConfirmApprovals): Confirmations {
  const confirm = async (c: HonoContext<ApiEnv>, name: string): Promise<void> => {
    if (mode === 'never') return;
    const { path } = c.req;
    const own = await authenticatorsNow(ctx, name);
    if (own.length === 0 && (mode === 'registered' || path.endsWith('/authenticators'))) return;
    if (own.length === 0)
      throw new NusecError('CONFIRMATION_REQUIRED', 'approvals are confirmed here: register an authenticator in the console first');
    const header = c.req.header('Confirmation');
    if (header === undefined)
      throw new NusecError('CONFIRMATION_REQUIRED', `${name} confirms this with an authenticator: do it in the console (/console)`);
    const body = new Uint8Array(await c.req.arrayBuffer());
    requireContent(path, body);
    const { challenge: text, response: answer } = parsed(header);
    const bodySha256 = sha256Hex(body);
    const target = `POST ${path}`;
    const { challenge, place } = await openChallenge(ctx, text, { name, target, bodySha256 });
    const requestSha256 = sha256Hex(utf8(`${target}\n${bodySha256}`));
    await useAuthenticator(ctx, name, { answer, challenge, place, requestSha256 }, `operator:${name}`);
  };
  return {
    confirm,
    async require(c) {
      if (c.req.method === 'POST' && isConfirmed(c.req.path)) await confirm(c, c.var.person.name);
    },
  };
}

/** @throws NusecError BAD_REQUEST: who confirms confirms a content */
function requireContent(path: string, body: Uint8Array): void {
  if (fixedContent.test(path)) return;
  const asked: unknown = body.length === 0 ? undefined : JSON.parse(new TextDecoder().decode(body));
  const { contentSha256 } = (asked ?? {}) as { readonly contentSha256?: unknown };
  if (typeof contentSha256 !== 'string') throw new NusecError('BAD_REQUEST', 'an approval that is confirmed names contentSha256');
}

/** @throws NusecError CONFIRMATION_REFUSED */
function parsed(header: string): { readonly challenge: string; readonly response: BrowserAnswer } {
  try {
    const { challenge, response } = JSON.parse(new TextDecoder().decode(fromBase64url(header.slice(0, maxHeaderChars)))) as Record<
      string,
      unknown
    >;
    if (typeof challenge === 'string' && typeof (response as { id?: unknown }).id === 'string')
      return { challenge, response: response as BrowserAnswer };
  } catch {
    // Said below.
  }
  throw new NusecError('CONFIRMATION_REFUSED', 'the header Confirmation is not base64url of {challenge, response}');
}
