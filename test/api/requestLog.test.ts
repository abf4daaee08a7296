import { Hono } from 'hono';
import { expect, it } from 'vitest';
import type { ApiEnv } from '../../src/api/auth.ts';
import { problemResponse } from '../../src/api/problem.ts';
import { requestLog } from '../../src/api/requestLog.ts';
import { NusecError } from '../../src/errors.ts';

/** The log of requests: a line for each, and refused sign-ins where everybody sees them. */

function start() {
  const lines: { level: string; message: string; fields: Record<string, unknown> }[] = [];
  const at = (level: string) => (fields: object, message: string) => void lines.push({ level, message, fields: { ...fields } });
  let now = 0;
  const api = new Hono<ApiEnv>();
  api.use(requestLog({ debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }, () => now));
  api.get('/good', c => c.text('ok'));
  api.get('/closed', () => {
    throw new NusecError('UNAUTHENTICATED', 'the token is not known');
  });
  api.onError((error, c) => problemResponse(c, error));
  const warned = () => lines.filter(({ level }) => level === 'warn');
  const get = (path: string, token?: string) =>
    api.request(path, token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } }, {} as never);
  return { lines, warned, get, later: (ms: number) => (now += ms) };
}

it('has a line for each request, without what was in its query and headers', async () => {
  const { lines, get } = start();
  await get('/good?code=secret-code', 'secret-token');
  expect(lines).toMatchObject([{ level: 'info', message: 'request', fields: { method: 'GET', path: '/good', status: 200 } }]);
  expect(JSON.stringify(lines)).not.toContain('secret');
});

it('warns of a token that was refused, and not of somebody who brought none', async () => {
  const { warned, get } = start();
  await get('/closed');
  expect(warned()).toEqual([]);
  await get('/closed', 'wrong');
  expect(warned()).toMatchObject([{ message: 'sign-in refused', fields: { status: 401, code: 'UNAUTHENTICATED', path: '/closed' } }]);
});

it('counts what is more than a hundred refusals a minute', async () => {
  const { warned, get, later } = start();
  for (let n = 0; n < 130; n++) await get('/closed', 'wrong');
  expect(warned()).toHaveLength(100);
  later(60_000);
  await get('/closed', 'wrong');
  expect(warned().slice(100)).toMatchObject([
    { message: 'more sign-ins were refused', fields: { count: 30 } },
    { message: 'sign-in refused' },
  ]);
});
