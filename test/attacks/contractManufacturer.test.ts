import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { allotment, allotmentStream } from '../../src/domain/allotment.ts';
import { device, deviceStream } from '../../src/domain/device.ts';
import { jobStream, job as jobs } from '../../src/domain/job.ts';
import { programmerStream } from '../../src/domain/programmer.ts';
import { parseVersion } from '../../src/domain/version.ts';
import { newEvent } from '../../src/eventstore/recorded.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { createAlarms } from '../../src/services/base/alarms.ts';
import { type Context, execute, nowIso } from '../../src/services/base/context.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { approveRelease, publishRelease, uploadRelease } from '../../src/services/firmware/releases.ts';
import { bindFirmware, contentSha256Of, createJob, jobOf, releaseJob } from '../../src/services/production/jobs.ts';
import { registerProgrammer } from '../../src/services/production/programmers.ts';
import { addRange, createSeries } from '../../src/services/production/series.ts';
import { csrOf, newParty, newUid } from '../services/parties.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer, testSettings } from '../support/server.ts';

/** People who are limited to a line or a site, and want to see or do more. What each role may ask for is in test/api/rights.ts. */

const by = 'operator:alice';
const [hall, elsewhere] = ['Example CM', 'Other CM'];
let server: TestServer;
let [mei, lino, sam, otto, audrey, rosa, mes] = ['', '', '', '', '', '', ''];
/** Of each: in the hall, elsewhere. */
const job = ['', ''] as [string, string];
const chip = [newUid(), newUid()] as const;
const programmer = [newUid(), newUid()] as const;
/** The application of each line. */
const released: Record<string, string> = {};
/** What a manufacturer has no business with: people, releases, hashes, series, ids of the registry. */
const ofOem: string[] = [];

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    for (const line of ['meter', 'heater']) await defineLine(ctx, { line }, by);
    for (const [index, [line, site]] of [
      ['meter', hall],
      ['heater', elsewhere],
    ].entries())
      await place(ctx, index as 0 | 1, line as string, site as string);
    mei = await addOperator(ctx, 'mei', ['productionPlanner'], by, { lines: ['meter'] });
    lino = await addOperator(ctx, 'lino', ['lineOperator'], by, { sites: [hall] });
    sam = await addOperator(ctx, 'sam', ['lineOperator'], by);
    otto = await addOperator(ctx, 'otto', ['securityOfficer'], by, { sites: [hall] });
    audrey = await addOperator(ctx, 'audrey', ['auditor'], by, { sites: [hall] });
    rosa = await addOperator(ctx, 'rosa', ['releaseManager'], by, { lines: ['meter'] });
    mes = await addOperator(ctx, 'mes', ['service', 'lineOperator'], by, { sites: [hall] });
  });
});
afterAll(() => server?.close());

async function place(ctx: Context, index: 0 | 1, line: string, site: string): Promise<void> {
  const series = `${line}-serial`;
  await createSeries(ctx, series, 'serial', by);
  await addRange(ctx, series, { from: `${line}-0001`, count: 100 }, by);
  const unitData = [{ name: 'serial', series, destination: 'sealed' }] as const;
  const { jobId } = await createJob(ctx, { line, plannedCount: 5, site, unitData }, by);
  for (const image of ['bl2', 'app'] as const) {
    const wish = { line, image, version: parseVersion('2.0.0'), counter: 5 };
    const { releaseId } = await uploadRelease(ctx, wish, new Uint8Array(randomBytes(3000)), by);
    await approveRelease(ctx, releaseId, 'operator:bob');
    await publishRelease(ctx, releaseId, by);
    released[line] = releaseId;
    const bound = (await bindFirmware(ctx, jobId, releaseId, by))[image];
    ofOem.push(releaseId, bound?.imageHash ?? '', bound?.bodySha256 ?? '');
  }
  await releaseJob(ctx, jobId, 'operator:bob');
  const { events } = await execute(
    ctx,
    jobs,
    jobStream(jobId),
    { type: 'MakeAllotment', programmer: programmer[index], count: 5, scrapAllowance: 0 },
    by,
  );
  expect(events).toHaveLength(1);
  await execute(
    ctx,
    allotment,
    allotmentStream(jobId, programmer[index]),
    { type: 'OpenAllotment', jobId, programmer: programmer[index], quota: 5, scrapAllowance: 0 },
    by,
  );
  const unitEvent = {
    uid: chip[index],
    objId: newUid(),
    grantId: newUid(),
    number: 1,
    expiresAt: nowIso(ctx),
    ledgerNumber: 1,
    ledgerHead: '00'.repeat(32),
  };
  const reserved = newEvent(
    'UnitReserved',
    { ...unitEvent, unitData: { values: [{ name: 'serial', value: `${line}-0001` }] } },
    { id: ctx.newId(), at: nowIso(ctx), by },
  );
  await ctx.store.append(allotmentStream(jobId, programmer[index]), 'any', [reserved]);
  ofOem.push(contentSha256Of(await jobOf(ctx, jobId)), unitEvent.objId, series, 'alice', 'bob');
  job[index] = jobId;
  await registerProgrammer(ctx, programmer[index], 'NuLink3', by);
  const shipped = newEvent('ProgrammerShipped', { to: site }, { id: ctx.newId(), at: nowIso(ctx), by });
  await ctx.store.append(programmerStream(programmer[index]), 'any', [shipped]);
  const unit = { uid: chip[index], objId: newUid(), line, jobId, programmer: programmer[index], grantId: newUid() };
  await execute(ctx, device, deviceStream(chip[index]), { type: 'MintDevice', ...unit }, by);
  await createAlarms(ctx).raise({ code: 'OUT_OF_USE_SEEN', subject: chip[index], detail: 'said hello' });
}

const ask = (token: string, method: string, path: string, body?: unknown) => {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  return exchange(`${server.url}${path}`, {
    ca: server.rootPem,
    method,
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
};
const get = (token: string, path: string) => ask(token, 'GET', path);
const code = async (token: string, path: string, body: unknown) => (await ask(token, 'POST', path, body)).json.code;

it.each([
  ['/v1/jobs', 'jobs', 'jobId', job],
  ['/v1/devices', 'devices', 'uid', chip],
  ['/v1/programmers', 'programmers', 'uid', programmer],
  ['/v1/alarms', 'alarms', 'subject', chip],
] as const)('shows of %s what is within the scope, and all of it to whoever has none (T17)', async (path, key, id, [own, foreign]) => {
  covers('T17');
  const ids = async (token: string) => ((await get(token, path)).json[key] as Record<string, string>[]).map(row => row[id]);
  expect(await ids(otto)).toEqual([own]);
  expect((await ids(server.alice)).sort()).toEqual([own, foreign].sort());
});

it('lets a line see the jobs, devices and releases of that line alone (T17)', async () => {
  covers('T17');
  expect((await get(mei, '/v1/jobs')).json.jobs).toMatchObject([{ jobId: job[0], line: 'meter' }]);
  expect((await get(mei, '/v1/devices')).json.devices).toMatchObject([{ uid: chip[0] }]);
  expect((await get(mei, '/v1/lines')).json.lines).toMatchObject([{ line: 'meter' }]);
  expect((await get(mei, '/v1/programmers')).json.programmers).toMatchObject([{ uid: programmer[0] }]);
  expect((await get(mei, `/v1/devices/${chip[1]}`)).status).toBe(404);
});

it('shows an auditor of a site the events of its jobs, devices and programmers, page after page (T17, R83)', async () => {
  covers('T17', 'R83');
  const streams = new Set<string>();
  let after = 0;
  for (let page = 0; page < 100; page += 1) {
    const { events, next, head } = (await get(audrey, `/v1/events?after=${after}&limit=3`)).json as unknown as {
      events: { stream: string }[];
      next: number;
      head: number;
    };
    for (const { stream } of events) streams.add(stream);
    if (next === head) break;
    after = next;
  }
  const [own, share] = [`job-${job[0]}`, `allotment-${job[0]}-${programmer[0]}`];
  expect([...streams].sort()).toEqual([`alarm-${chip[0]}`, `device-${chip[0]}`, own, share, `programmer-${programmer[0]}`].sort());
});

it('shows an auditor of a site who follows the log no event of a programmer that has gone to another site, and those of one that has come (T17)', async () => {
  covers('T17');
  const other = await openContext(testSettings(server.dataDir), { https: 0, crl: 0 });
  onTestFinished(() => other.close());
  const { ctx } = other;
  const [going, coming, staying] = [newUid(), newUid(), newUid()];
  const ship = async (uid: string, to: string) => {
    const shipped = newEvent('ProgrammerShipped', { to }, { id: ctx.newId(), at: nowIso(ctx), by });
    await ctx.store.append(programmerStream(uid), 'any', [shipped]);
  };
  const move = async (uid: string, from: string, to: string) => {
    await registerProgrammer(ctx, uid, 'NuLink3', by);
    await ship(uid, from);
    return () => ship(uid, to);
  };
  const outgoing = request(`${server.url}/v1/events/stream?type=Programmer*`, {
    ca: server.rootPem,
    agent: false,
    headers: { Authorization: `Bearer ${audrey}` },
  });
  onTestFinished(() => void outgoing.destroy());
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  let seen = '';
  response.setEncoding('utf8').on('data', text => {
    seen += text;
  });
  const shown = (uid: string) => seen.split(`programmer-${uid}`).length - 1;
  const moves = [await move(going, hall, elsewhere), await move(coming, elsewhere, hall)];
  const last = await move(staying, hall, hall);
  // What was before the moves has been looked at by then, and is not judged by where they lead.
  await expect.poll(() => shown(staying)).toBe(2);
  expect(shown(going)).toBe(2);
  for (const one of moves) await one();
  await last();
  await expect.poll(() => shown(coming)).toBe(1);
  expect(shown(going)).toBe(2);
});

it('makes nothing beyond the scope: no job elsewhere, no share for a programmer elsewhere, no gateway (T17)', async () => {
  covers('T17');
  expect(await code(mei, '/v1/jobs', { line: 'heater', plannedCount: 1 })).toBe('FORBIDDEN');
  expect(await code(mei, '/v1/jobs', { line: 'meter', plannedCount: 1 })).toBeUndefined();
  expect(await code(server.alice, `/v1/jobs/${job[0]}/allotments`, { programmer: programmer[1], count: 1 })).toBe('WRONG_SITE');
  const headers = { Authorization: `Bearer ${otto}`, 'Content-Type': 'application/pkcs10' };
  const url = `${server.url}/.well-known/est/gateway/simpleenroll`;
  const csr = Buffer.from(csrOf(newParty()), 'base64url').toString('base64');
  expect((await exchange(url, { ca: server.rootPem, headers, body: csr })).json.code).toBe('FORBIDDEN');
});

it('says of a device or release beyond the scope that it is not there, also where a plan or a job names it (T17)', async () => {
  covers('T17');
  const [meter, heater] = [released.meter, released.heater];
  const answer = async (token: string, path: string, body: unknown) => (await ask(token, 'POST', path, body)).json;
  const plan = (body: object) => answer(rosa, '/v1/rollouts', { releaseId: meter, ...body });
  const none = newUid();
  for (const uid of [chip[1], none])
    expect(await plan({ devices: [uid] }), uid).toMatchObject({ code: 'NOT_FOUND', detail: `there is no device ${uid}` });
  for (const id of [heater, none])
    expect(await plan({ fromRelease: id }), id).toMatchObject({ code: 'NOT_FOUND', detail: `there is no release ${id}` });
  const draft = await answer(mei, '/v1/jobs', { line: 'meter', plannedCount: 1 });
  for (const releaseId of [heater, none]) {
    const refused = { code: 'NOT_FOUND', detail: `there is no release ${releaseId}` };
    expect(await answer(mei, `/v1/jobs/${draft.jobId}/firmware`, { releaseId }), releaseId).toMatchObject(refused);
  }
  expect(await answer(mei, `/v1/jobs/${draft.jobId}/firmware`, { releaseId: meter })).toMatchObject({ app: { releaseId: meter } });
});

it('pages through the alarm cases of a scope without empty pages for those of others (T17)', async () => {
  covers('T17');
  for (const limit of [1, 2]) {
    const { cases, next } = (await get(otto, `/v1/alarm-cases?limit=${limit}`)).json as { cases?: { subject: string }[]; next?: number };
    expect([cases?.map(({ subject }) => subject), next]).toEqual([[chip[0]], undefined]);
  }
  const pages: string[] = [];
  for (let cursor = ''; pages.length < 10; ) {
    const { cases, next } = (await get(server.alice, `/v1/alarm-cases?limit=1${cursor}`)).json as unknown as {
      cases: { subject: string }[];
      next?: number;
    };
    pages.push(...cases.map(({ subject }) => subject));
    if (next === undefined) break;
    cursor = `&cursor=${next}`;
  }
  expect(pages).toEqual(expect.arrayContaining([...chip]));
  expect(new Set(pages).size).toBe(pages.length);
});

it('lets a line operator stop and resume the jobs of its site, and nothing else (T17)', async () => {
  covers('T17');
  expect((await get(lino, '/v1/jobs')).json.jobs).toMatchObject([{ jobId: job[0], site: hall }]);
  for (const path of ['/v1/devices', '/v1/programmers', '/v1/alarms', '/v1/lines']) expect((await get(lino, path)).status, path).toBe(403);
  expect((await get(sam, '/v1/jobs')).json.jobs).toEqual([]);
  expect(await code(lino, `/v1/jobs/${job[0]}/suspend`, { reason: 'smoke' })).toBeUndefined();
  expect(await code(lino, `/v1/jobs/${job[1]}/suspend`, { reason: 'smoke' })).toBe('NOT_FOUND');
  for (const step of ['release', 'cancel', 'close']) expect(await code(lino, `/v1/jobs/${job[0]}/${step}`, {}), step).toBe('FORBIDDEN');
  const replace = await code(lino, `/v1/jobs/${job[0]}/allotments/${programmer[0]}/export`, { replace: true });
  expect(replace).toBe('FORBIDDEN');
});

it.each([
  ['a line operator', () => lino],
  ['a program of the manufacturer', () => mes],
])('shows %s nothing of the OEM in any answer of any route, and nothing of other sites (T17, R83)', async (_, tokenOf) => {
  covers('T17', 'R83');
  const lino = tokenOf();
  const { paths } = (await get(lino, '/openapi.json')).json as unknown as { paths: Record<string, Record<string, unknown>> };
  const foreign = [job[1], chip[1], programmer[1], elsewhere, 'heater'];
  const fill = (path: string): string =>
    path.replaceAll(/\{(\w+)\}/g, (_, name) => ({ uid: chip[0], programmer: programmer[0], line: 'meter' })[name as string] ?? job[0]);
  const answered: string[] = [];
  for (const [path, methods] of Object.entries(paths))
    for (const method of Object.keys(methods).map(each => each.toUpperCase())) {
      // A new token would end this one.
      if (path.includes('stream') || (method !== 'GET' && path.includes('/me/')) || /^\/v1\/(trust-bundle|authority\/root|time)/.test(path))
        continue;
      const body = method === 'GET' ? undefined : { reason: 'walk', replace: false };
      const { status, text } = await ask(lino, method, fill(path), body);
      if (status < 400) answered.push(`${method} ${path}`);
      for (const word of [...ofOem, ...foreign]) expect(text.includes(word), `${method} ${path} shows ${word}`).toBe(false);
    }
  const views = ['', '/status', '/units', '/status.csv', '/reconciliation'].map(view => `GET /v1/jobs/{id}${view}`);
  expect(answered).toEqual(expect.arrayContaining(['GET /v1/jobs', ...views]));
  expect((await get(lino, `/v1/jobs/${job[0]}/units`)).json.units).toMatchObject([{ uid: chip[0], values: { serial: 'meter-0001' } }]);
  expect((await get(lino, `/v1/jobs/${job[0]}/status.csv`)).text).toContain('meter-0001');
  expect((await get(server.alice, `/v1/jobs/${job[0]}`)).text).toContain(ofOem[0]);
});

it('shows in the console the devices of the scope, and none to a line operator (T17)', async () => {
  covers('T17');
  const enter = async (token: string) => {
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', Origin: server.url };
    const url = `${server.url}/console/sign-in`;
    const { headers: answer } = await exchange(url, { ca: server.rootPem, headers, body: `token=${token}` });
    const Cookie = answer['set-cookie']?.[0]?.split(';')[0] ?? '';
    return (path: string) => exchange(`${server.url}${path}`, { ca: server.rootPem, headers: { Cookie } });
  };
  const asOtto = await enter(otto);
  const { text } = await asOtto('/console');
  expect(text).toContain(chip[0]);
  expect(text).not.toContain(chip[1]);
  expect((await asOtto(`/console/fleet/${chip[0]}`)).status).toBe(200);
  expect((await asOtto(`/console/fleet/${chip[1]}`)).status).toBe(404);
  const asLino = await enter(lino);
  const page = await asLino(`/console/jobs/${job[0]}`);
  expect([page.status, page.text.includes('meter-0001')]).toEqual([200, true]);
  for (const word of [...ofOem, job[1], programmer[1]]) expect(page.text.includes(word), word).toBe(false);
  for (const uid of chip) expect((await asLino('/console')).text).not.toContain(uid);
  for (const path of ['/console/fleet', `/console/fleet/${chip[0]}`]) expect((await asLino(path)).status, path).toBe(403);
});
