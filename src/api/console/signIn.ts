import type { Context as HonoContext } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { html } from 'hono/html';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { isService } from '../../domain/roles.ts';
import type { SessionOf } from '../../domain/sessions.ts';
import { NusecError } from '../../errors.ts';
import type { Flow } from '../../services/administration/openId.ts';
import { authenticateOperator, hashOf } from '../../services/administration/operators.ts';
import { bindOwnIdentity, signInArrival } from '../../services/administration/signIn.ts';
import type { Services } from '../../services/start/services.ts';
import { minuteMs } from '../../times.ts';
import type { ApiEnv } from '../auth.ts';
import { originOf } from '../origin.ts';
import { problemOf } from '../problem.ts';
import type { Api } from '../resource.ts';
import type { Person } from '../sessions.ts';
import { endSession, findSession, openSession, seal, sessionCookie, unseal } from '../sessions.ts';
import { commandCode } from '../signIn.ts';
import { wrongTokensOf } from '../wrongTokens.ts';
import { framed, type Html } from './layout.ts';

/** Ways into the console: by token, by an OpenID provider; and a session for `nusec login`, which a person who is signed in allows. */

const maxTokenChars = 128;
const flowCookie = '__Host-nusec-sign-in';
const flowMinutes = 10;
/** Addresses that a sign-in may lead to. */
const nextForm = /^\/console\/sign-in\/command\?[A-Za-z0-9=&_-]{1,200}$/;

type Sealed = Flow & { readonly next?: string; readonly bind?: string };

export function serveSignIn(api: Api, services: Services): void {
  const { ctx, alarms, openId } = services;
  const address = (c: HonoContext<ApiEnv>) => c.env.incoming.socket.remoteAddress;
  const page = (c: HonoContext<ApiEnv>, content: Html, status: ContentfulStatusCode = 200, person?: Person) =>
    c.html(framed({ title: 'Sign in', content }, person, '/console/people/me'), status);
  const person = (c: HonoContext<ApiEnv>) => findSession(ctx, getCookie(c, sessionCookie));
  /** The one that this browser had ends: nobody could sign out of it any more. */
  const begin = async (c: HonoContext<ApiEnv>, of: SessionOf): Promise<void> => {
    await endSession(ctx, getCookie(c, sessionCookie));
    const text = await openSession(ctx, of, originOf(c));
    setCookie(c, sessionCookie, text, { path: '/', secure: true, httpOnly: true, sameSite: 'Strict' });
  };
  const form = (c: HonoContext<ApiEnv>, problem?: string, next = c.req.query('next'), status: ContentfulStatusCode = 401) =>
    page(c, signInForm(openId !== undefined, nextForm.test(next ?? '') ? next : undefined, problem), problem === undefined ? 200 : status);
  const refused = (c: HonoContext<ApiEnv>, error: unknown, way: string): NusecError => {
    if (!(error instanceof NusecError)) throw error;
    ctx.log.warn({ address: address(c), code: error.code, way, cause: (error.cause as Error | undefined)?.message }, 'sign-in refused');
    return error;
  };

  api.get('/console/sign-in', c => form(c));
  api.post('/console/sign-in', async c => {
    const { token, next } = await c.req.parseBody();
    try {
      if (typeof token !== 'string' || token.length > maxTokenChars) throw new NusecError('UNAUTHENTICATED', 'no token');
      const given = token.trim();
      const { name, roles } = await wrongTokensOf(services).watch(address(c), () => authenticateOperator(ctx, given));
      if (isService(roles)) throw new NusecError('FORBIDDEN', 'a service account has no console');
      services.tokenUse.used(hashOf(given));
      await begin(c, { name, tokenSha256: hashOf(given) });
      return c.redirect(typeof next === 'string' && nextForm.test(next) ? next : '/console', 303);
    } catch (error) {
      const known = refused(c, error, 'token');
      const isUnknown = known.code === 'UNAUTHENTICATED' || known.code === 'TOKEN_EXPIRED';
      // Whoever is told that a right token is wrong makes another one.
      const [status, title] = isUnknown ? ([401, 'This token is not known, or it has expired.'] as const) : problemOf(known);
      const problem = isUnknown ? title : `${title}: ${known.message}.`;
      return form(c, problem, typeof next === 'string' ? next : undefined, status);
    }
  });
  api.post('/console/sign-out', async c => {
    const session = getCookie(c, sessionCookie);
    deleteCookie(c, sessionCookie, { path: '/', secure: true });
    await endSession(ctx, session);
    return c.redirect('/console/sign-in', 303);
  });

  const callback = (c: HonoContext<ApiEnv>): string => `${new URL(c.req.url).origin}/console/sign-in/callback`;
  api.post('/console/sign-in/provider', async c => {
    if (openId === undefined) throw new NusecError('NOT_OFFERED', 'no OpenID provider is configured');
    const { next, bind } = await c.req.parseBody();
    const who = bind === 'true' ? await person(c) : undefined;
    if (bind === 'true' && (who === undefined || who.isNamed)) throw new NusecError('FORBIDDEN', 'sign in with your main token first');
    const { url, flow } = await openId.begin(callback(c));
    const kept: Sealed = { ...flow, ...(typeof next === 'string' && nextForm.test(next) && { next }), ...(who && { bind: who.name }) };
    // The provider sends the browser back from another site: Lax, and for this one way only.
    const options = { path: '/', secure: true, httpOnly: true, sameSite: 'Lax', maxAge: flowMinutes * 60 } as const;
    setCookie(c, flowCookie, await seal(ctx, 'sign-in', kept, flowMinutes * minuteMs), options);
    return page(c, onward(url, 'Go on to your provider'));
  });
  api.get('/console/sign-in/callback', async c => {
    const kept = await unseal<Sealed>(ctx, 'sign-in', getCookie(c, flowCookie));
    deleteCookie(c, flowCookie, { path: '/', secure: true });
    try {
      if (openId === undefined || kept === undefined)
        throw new NusecError('SIGN_IN_FAILED', 'this sign-in was not begun here, or it took too long');
      const arrival = await openId.finish(kept, c.req.url);
      if (kept.bind !== undefined) {
        await bindOwnIdentity(services, kept.bind, arrival.identity);
        return page(c, onward('/console/people/me', 'Back to your account'));
      }
      const start = await signInArrival({ ctx, alarms }, arrival);
      ctx.log.info({ address: address(c), person: start.name, way: 'provider' }, 'signed in');
      await begin(c, start);
      // A page of our own, so that the browser sends the strict cookie along with the next request.
      return page(c, onward(kept.next ?? '/console', 'Go on to the console'));
    } catch (error) {
      const known = refused(c, error, 'provider');
      return form(c, known.message, kept?.next, known.code === 'SIGN_IN_FAILED' ? 401 : problemOf(known)[0]);
    }
  });

  api.get('/console/sign-in/command', async c => {
    const who = await person(c);
    const next = c.req.url.slice(new URL(c.req.url).origin.length);
    if (who === undefined) return c.redirect(`/console/sign-in?next=${encodeURIComponent(next)}`);
    const { port, challenge, state } = wishOf(c.req.query());
    const content = html`<form class="sign-in" method="post" action="/console/sign-in/command"><h1>Let nusec act as ${who.name}?</h1>
<p>A command on this computer asks for a session of 12 hours with all of your roles. Allow it only if you have just begun <code>nusec login</code>.</p>
<input type="hidden" name="port" value="${port}"><input type="hidden" name="challenge" value="${challenge}"><input type="hidden" name="state" value="${state}">
<button class="primary">Allow</button><p><a href="/console">No</a></p></form>`;
    return page(c, content, 200, who);
  });
  api.post('/console/sign-in/command', async c => {
    const who = await person(c);
    if (who?.session === undefined) return c.redirect('/console/sign-in');
    const { port, challenge, state } = wishOf((await c.req.parseBody()) as Record<string, string>);
    const code = await commandCode(ctx, { ...who.session, name: who.name }, challenge);
    return page(c, onward(`http://127.0.0.1:${port}/?code=${code}&state=${state}`, 'Go on to the command'), 200, who);
  });
}

/** What the command asks for. @throws NusecError BAD_REQUEST */
function wishOf({ port = '', challenge = '', state = '' }: Readonly<Record<string, string>>) {
  const isRight = /^\d{4,5}$/.test(port) && /^[A-Za-z0-9_-]{43}$/.test(challenge) && /^[A-Za-z0-9_-]{16,64}$/.test(state);
  if (!isRight) throw new NusecError('BAD_REQUEST', 'begin with nusec login');
  return { port, challenge, state };
}

/** Leads the browser on by itself; a link for browsers that do not follow. */
const onward = (url: string, text: string): Html =>
  html`<div class="narrow"><meta http-equiv="refresh" content="0;url=${url}"><p><a id="onward" href="${url}">${text}</a></p></div>`;

function signInForm(hasProvider: boolean, next: string | undefined, problem?: string): Html {
  const kept = next === undefined ? '' : html`<input type="hidden" name="next" value="${next}">`;
  const provider = html`<form class="sign-in" method="post" action="/console/sign-in/provider">${kept}<button class="primary">Sign in with your organization</button></form>`;
  return html`${hasProvider ? provider : ''}<form class="sign-in" method="post" action="/console/sign-in">
<h1>Sign in</h1>
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>${kept}
${problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`}
<button class="${hasProvider ? '' : 'primary'}">Sign in</button>
<p class="hint"><code>nusec init</code> wrote the administrators' tokens into the data folder.</p>
</form>`;
}
