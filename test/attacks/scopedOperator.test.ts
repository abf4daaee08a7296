import { afterAll, beforeAll, expect, it } from 'vitest';
import { addOperator } from '../../src/services/administration/operators.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { createJob } from '../../src/services/production/jobs.ts';
import { newUid } from '../services/parties.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** A manufacturer's person, who is to see the jobs of one line and nothing else. */

let server: TestServer;
let [mei, siteOnly, own, foreign] = ['', '', '', ''];
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    for (const line of ['meter', 'heater']) await defineLine(ctx, { line }, 'operator:alice');
    own = (await createJob(ctx, { line: 'meter', plannedCount: 5 }, 'operator:alice')).jobId;
    foreign = (await createJob(ctx, { line: 'heater', plannedCount: 5 }, 'operator:alice')).jobId;
    mei = await addOperator(ctx, 'mei', ['lineOperator'], 'operator:alice', { lines: ['meter'] });
    siteOnly = await addOperator(ctx, 'sam', ['administrator'], 'operator:alice', { sites: ['hall-7'] });
  });
});
afterAll(() => server?.close());

const get = (path: string, token = mei) =>
  exchange(`${server.url}${path}`, { ca: server.rootPem, headers: { Authorization: `Bearer ${token}` } });

it('reads the jobs of its line, and no other job is there for it (T17)', async () => {
  covers('T17');
  const { json } = await get('/v1/jobs');
  expect((json.jobs as { jobId: string }[]).map(({ jobId }) => jobId)).toEqual([own]);
  expect((await get(`/v1/jobs/${own}`)).json).toMatchObject({ jobId: own, line: 'meter' });
  for (const path of ['', '/status.csv', '/reconciliation']) expect((await get(`/v1/jobs/${foreign}${path}`)).status, path).toBe(404);
  expect((await get('/v1/operators/me')).json).toMatchObject({ name: 'mei', scope: { lines: ['meter'] } });
});

it('is refused on every other route that people may read, whatever its role (T17)', async () => {
  covers('T17');
  const { json } = await get('/openapi.json');
  const paths = Object.entries(json.paths as Record<string, Record<string, unknown>>);
  const readable = paths.filter(
    ([path, methods]) => 'get' in methods && path.startsWith('/v1/') && !path.startsWith('/v1/jobs') && path !== '/v1/operators/me',
  );
  const open = ['/v1/trust-bundle', '/v1/authority/root.pem'];
  let refused = 0;
  for (const [path] of readable) {
    const url = path.replaceAll(/\{(\w+)\}/g, (_, name) => (name === 'sha256' ? newUid() + newUid() : newUid()));
    for (const token of [mei, siteOnly]) {
      const { status } = await get(url, token);
      if (status === 403) refused += 1;
      // 401 is the answer of machines' routes, 400 of a parameter that is judged first.
      else expect([400, 401, ...(open.includes(path) ? [200, 404] : [])], `${path} answers ${status}`).toContain(status);
    }
  }
  expect(refused).toBeGreaterThan(20);
});

it('sees no job when its scope names only sites, which jobs do not have yet', async () => {
  expect((await get('/v1/jobs', siteOnly)).json).toEqual({ jobs: [] });
});
