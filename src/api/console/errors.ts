import type { Context } from 'hono';
import { html } from 'hono/html';
import { NusecError } from '../../errors.ts';
import type { ApiEnv } from '../auth.ts';
import { problemOf } from '../problem.ts';
import { page } from './layout.ts';

/** Refusals of the console as pages: what was wrong, in words, and the way back. */

export const isConsole = (c: Context<ApiEnv>): boolean => c.req.path === '/console' || c.req.path.startsWith('/console/');

export function errorPage(c: Context<ApiEnv>, error: unknown): Response | Promise<Response> {
  const [status, title] = problemOf(error);
  const detail = error instanceof NusecError ? error.message : 'Try again; the log of the server says what happened.';
  return c.html(
    page(
      title,
      undefined,
      html`<h1>${title}</h1><p class="problem" role="alert">${detail}</p><p><a href="/console">Back to the fleet</a></p>`,
    ),
    status,
  );
}
