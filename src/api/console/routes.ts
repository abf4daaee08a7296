import type { Context as HonoContext, MiddlewareHandler } from 'hono';
import { getCookie } from 'hono/cookie';
import { secureHeaders } from 'hono/secure-headers';
import { NusecError } from '../../errors.ts';
import type { ApiEnv } from '../auth.ts';
import { problemOf } from '../problem.ts';
import type { Resource } from '../resource.ts';
import type { Person } from '../sessions.ts';
import { findSession, sessionCookie } from '../sessions.ts';
import { actionPage, confirmPage, findAction, maxIdsInPath, perform, readForm, refusalOf } from './actions.ts';
import { serveAssets } from './assets.ts';
import { errorPage } from './errors.ts';
import { framed } from './layout.ts';
import { followLog } from './live.ts';
import { actions, pages } from './pages.ts';
import { serveSignIn } from './signIn.ts';
import { type Visit, visitOf } from './visit.ts';

/** The console: pages made by the server from the answers of the API, and forms that ask it for something. */

export const consoleResource: Resource = (api, services) => {
  const { ctx } = services;
  const self = ["'self'"];
  const headers = secureHeaders({
    contentSecurityPolicy: { defaultSrc: self, frameAncestors: ["'none'"], formAction: self, baseUri: ["'none'"], objectSrc: ["'none'"] },
    referrerPolicy: 'no-referrer',
    xFrameOptions: 'DENY',
  });
  api.use('/console', headers);
  api.use('/console/*', headers);
  api.use('/console/*', requireOwnPages);
  serveAssets(api);
  api.get('/', c => c.redirect('/console'));
  api.get('/console/', c => c.redirect('/console'));
  api.get('/favicon.ico', c => c.redirect('/console/assets/icon.svg'));

  const visit = (c: HonoContext<ApiEnv>, who: Person) => visitOf(api, c, who, services.openId !== undefined);
  type Handler = (c: HonoContext<ApiEnv>, who: Person) => Promise<Response> | Response;
  const person = async (c: HonoContext<ApiEnv>) => {
    const found = await findSession(ctx, getCookie(c, sessionCookie));
    if (found !== undefined) services.tokenUse.used(found.session.id);
    return found;
  };
  /** For people who are signed in; everybody else is sent to the sign-in page. A refusal is a page in the frame. */
  const signedIn = (handle: Handler) => async (c: HonoContext<ApiEnv>) => {
    const who = await person(c);
    // A refresh in the background sends the whole page to the sign-in, and does not put that into a part of it.
    if (who === undefined && c.req.header('HX-Request') === 'true') return c.body(null, 401, { 'HX-Redirect': '/console/sign-in' });
    if (who === undefined) return c.redirect('/console/sign-in');
    try {
      return await handle(c, who);
    } catch (error) {
      if (error instanceof NusecError) return errorPage(c, error, who);
      throw error;
    }
  };

  serveSignIn(api, services);
  api.get(
    '/console/live',
    signedIn((c, who) => followLog(ctx, c, who)),
  );

  for (const [path, render] of Object.entries(pages))
    api.get(
      path,
      signedIn(async (c, who) => {
        const position = ctx.store.seen();
        const looking = visit(c, who);
        const page = await render(looking, c.req.param());
        const notice = actions[looking.query('done') ?? '']?.done;
        requireKnownQuery(looking);
        return page instanceof Response ? page : c.html(framed({ ...page, position }, who, c.req.path, notice));
      }),
    );

  const idsOf = (c: HonoContext<ApiEnv>): readonly string[] => {
    const { one, other } = c.req.param() as { readonly one?: string; readonly other?: string };
    return [one, other].filter(id => id !== undefined).slice(0, maxIdsInPath);
  };
  for (const path of ['/console/do/:action', '/console/do/:action/:one', '/console/do/:action/:one/:other']) {
    api.get(
      path,
      signedIn(async (c, who) => {
        const action = findAction(actions, c.req.param('action') ?? '', idsOf(c));
        const looking = visit(c, who);
        const page = await actionPage(looking, action, idsOf(c));
        requireKnownQuery(looking);
        return c.html(framed(page, who, action.back(idsOf(c))));
      }),
    );
    api.post(
      path,
      signedIn(async (c, who) => {
        const name = c.req.param('action') ?? '';
        const [ids, looking] = [idsOf(c), visit(c, who)];
        const action = findAction(actions, name, ids);
        const form = await readForm(await c.req.parseBody({ all: true }));
        try {
          const answer = await perform(looking, action, ids, form);
          if (action.fileName !== undefined) return download(answer, action.fileName(ids));
          const content = answer.status === 204 ? {} : ((await answer.json()) as Record<string, unknown>);
          if (action.answer !== undefined)
            return c.html(framed({ title: action.title(ids), content: action.answer(content, ids) }, who, action.back(ids)));
          const to = action.to?.(content, ids) ?? action.back(ids);
          return c.redirect(`${to}${to.includes('?') ? '&' : '?'}done=${name}`, 303);
        } catch (error) {
          if (!(error instanceof NusecError)) throw error;
          const asked =
            error.code === 'CONFIRMATION_REQUIRED' ? await confirmPage(looking, action, ids, form).catch(() => undefined) : undefined;
          if (asked !== undefined) return c.html(framed(asked, who, action.back(ids)));
          const [status, title] = problemOf(error);
          const page = await actionPage(looking, action, ids, form, refusalOf(title, error));
          return c.html(framed(page, who, action.back(ids)), status);
        }
      }),
    );
  }
};

/** A filter that is misspelt must not show everything. @throws NusecError BAD_REQUEST */
function requireKnownQuery(visit: Visit): void {
  const stray = visit.strayQuery();
  if (stray !== undefined) throw new NusecError('BAD_REQUEST', `this page takes no parameter ${stray}`);
}

const download = (answer: Response, name: string): Response =>
  new Response(answer.body, {
    headers: { 'Content-Type': 'application/octet-stream', 'Content-Disposition': `attachment; filename="${name}"` },
  });

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
