import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseVersion } from '../../src/domain/version.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { approveRelease, publishRelease, uploadRelease } from '../../src/services/firmware/releases.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** One planner who wants other firmware built than the second person agreed to. */

let server: TestServer;
let [pia, paul, petra, bl2, good, bad] = ['', '', '', '', '', ''];
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await defineLine(ctx, { line: 'meter' }, 'operator:alice');
    const publish = async (image: 'bl2' | 'app', version: string) => {
      const wish = { line: 'meter', image, version: parseVersion(version), counter: 1 };
      const { releaseId } = await uploadRelease(ctx, wish, new Uint8Array(randomBytes(3000)), 'operator:alice');
      await approveRelease(ctx, releaseId, 'operator:bob');
      await publishRelease(ctx, releaseId, 'operator:bob');
      return releaseId;
    };
    bl2 = await publish('bl2', '1.0.0');
    good = await publish('app', '2.0.0');
    bad = await publish('app', '1.0.0');
    [pia, paul, petra] = [await planner('pia'), await planner('paul'), await planner('petra')];
    function planner(name: string): Promise<string> {
      return addOperator(ctx, name, ['productionPlanner'], 'operator:alice');
    }
  });
});
afterAll(() => server?.close());

const ask = async (token: string, method: string, path: string, body?: unknown) => {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  const text = body === undefined ? {} : { body: JSON.stringify(body) };
  const { status, json } = await exchange(`${server.url}${path}`, { method, ca: server.rootPem, headers, ...text });
  return status < 300 ? json : { code: String(json.code) };
};
const bind = (token: string, jobId: unknown, releaseId: string) => ask(token, 'POST', `/v1/jobs/${jobId}/firmware`, { releaseId });
const release = (token: string, jobId: unknown, look = {}) => ask(token, 'POST', `/v1/jobs/${jobId}/release`, look);
const draft = async () => {
  const { jobId } = await ask(pia, 'POST', '/v1/jobs', { line: 'meter', plannedCount: 5 });
  for (const releaseId of [bl2, good]) await bind(pia, jobId, releaseId);
  return jobId;
};

it('binds other firmware to the job of another and cannot release it (I16, T17)', async () => {
  covers('I16', 'T17');
  const jobId = await draft();
  expect(await bind(paul, jobId, bad)).toMatchObject({ contributors: ['operator:pia', 'operator:paul'] });
  for (const token of [pia, paul]) expect(await release(token, jobId)).toEqual({ code: 'FOUR_EYES_REQUIRED' });
  expect(await release(petra, jobId)).toMatchObject({ status: 'RELEASED', releasedBy: 'operator:petra' });
});

it('changes the firmware between the look and the approval, which is refused until the approver looks again (I16, T17)', async () => {
  covers('I16', 'T17');
  const jobId = await draft();
  const seen = await ask(petra, 'GET', `/v1/jobs/${jobId}`);
  await bind(pia, jobId, bad);
  const look = { contentSha256: seen.contentSha256 };
  expect(await release(petra, jobId, look)).toEqual({ code: 'CONFLICT' });
  const again = await ask(petra, 'GET', `/v1/jobs/${jobId}`);
  expect(again).toMatchObject({ status: 'DEFINED', app: { releaseId: bad } });
  expect(again.contentSha256).not.toBe(seen.contentSha256);
  expect(await release(petra, jobId, { contentSha256: again.contentSha256 })).toMatchObject({ status: 'RELEASED' });
  expect(await release(petra, jobId, look)).toEqual({ code: 'CONFLICT' });
  const { events } = await ask(server.alice, 'GET', '/v1/events?limit=500');
  const data = expect.objectContaining({ contentSha256: again.contentSha256 });
  expect(events).toContainEqual(expect.objectContaining({ type: 'JobReleased', stream: `job-${jobId}`, data }));
});
