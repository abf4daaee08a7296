import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Context as HonoContext, MiddlewareHandler } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { html } from 'hono/html';
import { secureHeaders } from 'hono/secure-headers';
import { readers } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import { authenticateOperator } from '../../services/administration/operators.ts';
import type { Resource } from '../app.ts';
import type { ApiEnv, Person } from '../auth.ts';
import { requireInScope } from '../scopes.ts';
import { wrongTokensOf } from '../wrongTokens.ts';
import { deviceTimeline } from './device.ts';
import { fleet } from './fleet.ts';
import { type Html, page } from './layout.ts';
import { findSession, openSession, sessionCookie } from './session.ts';

/** The console: pages made by the server from the same queries as the API. */

const asset = (path: string): string => readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8');
const uidForm = /^[0-9a-f]{32}$/;
const maxTokenChars = 128;

export const consoleResource: Resource = (api, services) => {
  const { ctx } = services;
  const style = asset('../../../web/console.css');
  const icon = asset('../../../web/icon.svg');
  const htmx = readFileSync(fileURLToPath(import.meta.resolve('htmx.org/dist/htmx.min.js')), 'utf8');
  const self = ["'self'"];
  const headers = secureHeaders({
    contentSecurityPolicy: { defaultSrc: self, frameAncestors: ["'none'"], formAction: self, baseUri: ["'none'"] },
    referrerPolicy: 'no-referrer',
    xFrameOptions: 'DENY',
  });
  api.use('/console/*', requireOwnPages);
  api.use('/console', headers);
  api.use('/console/*', headers);
  api.get('/console/assets/console.css', c => c.body(style, 200, { 'Content-Type': 'text/css; charset=utf-8' }));
  api.get('/console/assets/icon.svg', c => c.body(icon, 200, { 'Content-Type': 'image/svg+xml' }));
  api.get('/console/assets/htmx.js', c => c.body(htmx, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }));

  const person = (c: HonoContext<ApiEnv>) => findSession(ctx, getCookie(c, sessionCookie));
  /** Pages for people who are signed in; everybody else is sent to the sign-in page. */
  const signedIn = (render: (c: HonoContext<ApiEnv>, who: Person) => Promise<Html>) => async (c: HonoContext<ApiEnv>) => {
    const who = await person(c);
    // A refresh in the background sends the whole page to the sign-in, and does not put that into a part of it.
    if (who === undefined && c.req.header('HX-Request') === 'true') return c.body(null, 401, { 'HX-Redirect': '/console/sign-in' });
    if (who === undefined) return c.redirect('/console/sign-in');
    if (!who.roles.some(role => readers.includes(role))) throw new NusecError('FORBIDDEN', `${who.name} reads no devices`);
    return c.html(await render(c, who));
  };

  api.get('/console/sign-in', c => c.html(page('Sign in', undefined, signInForm())));
  api.post('/console/sign-in', async c => {
    const { token } = await c.req.parseBody();
    try {
      if (typeof token !== 'string' || token.length > maxTokenChars) throw new NusecError('UNAUTHENTICATED', 'no token');
      const { remoteAddress } = c.env.incoming.socket;
      const operator = await wrongTokensOf(services).watch(remoteAddress, () => authenticateOperator(ctx, token.trim()));
      setCookie(c, sessionCookie, await openSession(ctx, operator), { path: '/', secure: true, httpOnly: true, sameSite: 'Strict' });
      return c.redirect('/console', 303);
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
      return c.html(page('Sign in', undefined, signInForm('This token is not known, or it has expired.')), 401);
    }
  });
  api.post('/console/sign-out', c => {
    deleteCookie(c, sessionCookie, { path: '/', secure: true });
    return c.redirect('/console/sign-in', 303);
  });
  api.get(
    '/console',
    signedIn(async (c, { name, scope }) => page('Fleet', name, await fleet(ctx, scope, cursor(c)))),
  );
  api.get(
    '/console/fleet',
    signedIn(async (c, { scope }) => fleet(ctx, scope, cursor(c))),
  );
  api.get(
    '/console/devices/:uid',
    signedIn(async (c, { name, scope }) => {
      const uid = c.req.param('uid') ?? '';
      await requireInScope(ctx, scope, 'device', uid);
      return page('Device', name, await deviceTimeline(ctx, uid));
    }),
  );
};

/** What changes something comes from our own pages: another site's form or script is refused, whatever cookie the browser sends along.
 *  @throws NusecError FORBIDDEN */
const requireOwnPages: MiddlewareHandler<ApiEnv> = async (c, next) => {
  const { origin, host, 'sec-fetch-site': site } = c.req.header();
  // A browser that says where a request comes from may leave the origin out (our pages send no referrer).
  const isForeign = site !== undefined ? site !== 'same-origin' : origin !== undefined && origin !== `https://${host}`;
  if (c.req.method !== 'GET' && c.req.method !== 'HEAD' && isForeign)
    throw new NusecError('FORBIDDEN', 'this request comes from the pages of another site');
  await next();
};

const cursor = (c: HonoContext<ApiEnv>): string | undefined => {
  const after = c.req.query('after');
  return after !== undefined && uidForm.test(after) ? after : undefined;
};

const signInForm = (problem?: string): Html => html`<form class="sign-in" method="post" action="/console/sign-in">
<h1>Sign in</h1>
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
${problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`}
<button>Sign in</button>
<p class="hint"><code>nusec init</code> wrote the administrators' tokens into the data folder.</p>
</form>`;
