import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addOperator } from '../../src/services/administration/operators.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { createJob } from '../../src/services/production/jobs.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** What every request may carry, whatever it is about: a key against doing it twice, conditions, a trace, an encoding. */

let server: TestServer;
let [pia, paul, jobId] = ['', '', ''];
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await defineLine(ctx, { line: 'meter' }, 'operator:alice');
    pia = await addOperator(ctx, 'pia', ['productionPlanner'], 'operator:alice');
    paul = await addOperator(ctx, 'paul', ['productionPlanner'], 'operator:alice');
    jobId = (await createJob(ctx, { line: 'meter', plannedCount: 5 }, 'operator:pia')).jobId;
  });
});
afterAll(() => server?.close());

type Headers = Readonly<Record<string, string>>;
const ask = (token: string, method: string, path: string, headers: Headers = {}, body?: unknown) =>
  exchange(`${server.url}${path}`, {
    ca: server.rootPem,
    method,
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
const plan = (token: string, key: string, plannedCount: number) =>
  ask(token, 'POST', '/v1/jobs', { 'Idempotency-Key': key }, { line: 'meter', plannedCount });
const countJobs = async () => ((await ask(pia, 'GET', '/v1/jobs?limit=500')).json.jobs as unknown[]).length;

describe('a request with an Idempotency-Key', () => {
  it('is done once, and answered the same again', async () => {
    const before = await countJobs();
    const [first, again] = [await plan(pia, 'k-1', 7), await plan(pia, 'k-1', 7)];
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.json).toEqual(first.json);
    expect([first.headers['idempotent-replay'], again.headers['idempotent-replay']]).toEqual([undefined, 'true']);
    expect(await countJobs()).toBe(before + 1);
  });

  it('is refused when the key came with another request, and is another one from another person', async () => {
    await plan(pia, 'k-2', 7);
    expect(await plan(pia, 'k-2', 8)).toMatchObject({ status: 422, json: { code: 'IDEMPOTENCY_KEY_REUSED' } });
    expect((await plan(paul, 'k-2', 8)).status).toBe(201);
    expect((await plan(pia, ' ', 8)).json.code).toBe('BAD_REQUEST');
  });

  it('makes one job when it comes several times at once', async () => {
    const before = await countJobs();
    const answers = await Promise.all(Array.from({ length: 5 }, () => plan(pia, 'k-3', 9)));
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThan(0);
    for (const { status } of answers) expect([201, 409]).toContain(status);
    expect(await countJobs()).toBe(before + 1);
  });

  it('may be made again after a refusal, and shows no token twice', async () => {
    const wrong = () => ask(pia, 'POST', '/v1/jobs', { 'Idempotency-Key': 'k-4' }, { line: 'nothing', plannedCount: 1 });
    expect([(await wrong()).status, (await wrong()).status]).toEqual([404, 404]);
    expect((await plan(pia, 'k-4', 2)).status).toBe(201);
    const wish = { name: 'lino', roles: ['lineOperator'], scope: { sites: ['Example CM'] } };
    const add = () => ask(server.alice, 'POST', '/v1/operators', { 'Idempotency-Key': 'k-5' }, wish);
    expect((await add()).json.token).toEqual(expect.any(String));
    expect(await add()).toMatchObject({ status: 409, json: { code: 'CONFLICT' } });
    const next = () => ask(server.alice, 'POST', '/v1/operators/lino/%74oken', { 'Idempotency-Key': 'k-6' }, {});
    expect((await next()).json.token).toEqual(expect.any(String));
    expect(await next()).toMatchObject({ status: 409, json: { code: 'CONFLICT' } });
  });
});

describe('a conditional request', () => {
  it('is answered 304 while nothing has changed', async () => {
    const { headers } = await ask(pia, 'GET', `/v1/jobs/${jobId}`);
    const tag = String(headers.etag);
    const again = await ask(pia, 'GET', `/v1/jobs/${jobId}`, { 'If-None-Match': tag });
    expect([again.status, again.text, again.headers.etag]).toEqual([304, '', tag]);
    expect((await ask(pia, 'GET', '/v1/jobs', { 'If-None-Match': tag })).status).toBe(200);
  });

  it('changes nothing that has changed since it was looked at', async () => {
    const tag = String((await ask(pia, 'GET', `/v1/jobs/${jobId}`)).headers.etag);
    const uids = (condition: string) =>
      exchange(`${server.url}/v1/jobs/${jobId}/uids`, {
        ca: server.rootPem,
        method: 'PUT',
        headers: { Authorization: `Bearer ${pia}`, 'Content-Type': 'text/plain', 'If-Match': condition },
        body: '00112233445566778899aabbccddeeff',
      });
    expect((await uids('nonsense')).json.code).toBe('BAD_REQUEST');
    expect(await uids('"99"')).toMatchObject({ status: 412, json: { code: 'PRECONDITION_FAILED' } });
    expect((await uids(tag)).status).toBe(200);
    const cancel = (condition: string) => ask(pia, 'POST', `/v1/jobs/${jobId}/cancel`, { 'If-Match': condition }, { reason: 'x' });
    expect((await cancel(tag)).status).toBe(412);
    expect((await cancel('*')).status).toBe(200);
  });

  it('of two that have seen the same, one is done and the other refused', async () => {
    const tag = String((await ask(server.alice, 'GET', '/v1/lines/meter')).headers.etag);
    const raise = (floor: number) => ask(server.alice, 'POST', '/v1/lines/meter/floor', { 'If-Match': tag }, { floor });
    const answers = await Promise.all([raise(3), raise(4), raise(5)]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 412, 412]);
    expect((await raise(6)).json.code).toBe('PRECONDITION_FAILED');
  });
});

it('goes on with the trace and the name that a request has, and gives it one otherwise', async () => {
  const trace = '0af7651916cd43dd8448eb211c80319c';
  const { headers } = await ask(pia, 'GET', '/v1/lines', { traceparent: `00-${trace}-b7ad6b7169203331-01`, 'X-Request-Id': 'mes-42' });
  expect(headers.traceparent).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`));
  expect(headers['x-request-id']).toBe('mes-42');
  const refused = await ask('wrong', 'GET', '/v1/lines', { traceparent: '00-0-0-0', 'X-Request-Id': 'a\tb' });
  expect(refused.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  expect(refused.headers['x-request-id']).toMatch(/^[0-9a-f]{32}$/);
});

it('sends less to those who take gzip', async () => {
  const size = async (headers: Headers) => (await ask(pia, 'GET', '/console/assets/console.css', headers)).headers;
  expect((await size({}))['content-encoding']).toBeUndefined();
  expect((await size({ 'Accept-Encoding': 'gzip' }))['content-encoding']).toBe('gzip');
});
