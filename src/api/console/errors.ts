import type { Context } from 'hono';
import { html } from 'hono/html';
import { NusecError } from '../../errors.ts';
import type { ApiEnv } from '../auth.ts';
import { problemOf } from '../problem.ts';
import type { Person } from '../sessions.ts';
import { framed } from './layout.ts';

/** Refusals of the console as pages: what was wrong, in words, and the way back. */

export const isConsole = (c: Context<ApiEnv>): boolean => c.req.path === '/console' || c.req.path.startsWith('/console/');

/** @param person keeps the navigation for those who are signed in */
export function errorPage(c: Context<ApiEnv>, error: unknown, person?: Person): Response | Promise<Response> {
  const [status, title] = problemOf(error);
  const detail = error instanceof NusecError ? error.message : 'Try again; the log of the server says what happened.';
  const content = html`<div class="narrow"><h1>${title}</h1><div class="problem" role="alert"><p>${detail}</p></div><p><a href="/console">Back to the console</a></p></div>`;
  return c.html(framed({ title, content }, person, c.req.path), status);
}
