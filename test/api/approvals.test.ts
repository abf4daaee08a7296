import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isConfirmed } from '../../src/api/confirmations.ts';
import { allotment, allotmentStream } from '../../src/domain/allotment.ts';
import { parseVersion } from '../../src/domain/version.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { establishIssuingCa } from '../../src/services/authority/issuingCa.ts';
import { execute } from '../../src/services/base/context.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { uploadRelease } from '../../src/services/firmware/releases.ts';
import { createJob } from '../../src/services/production/jobs.ts';
import { newUid } from '../services/parties.ts';
import { mint } from '../services/project.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** Every way to approve something: it counts for the content that was seen, and the event keeps its hash. */

let server: TestServer;
let [rita, rolf, olga, otto] = ['', '', '', ''];
const chip = newUid();
let releaseId = '';
let share = { jobId: '', programmer: newUid() };
/** Of an event that a read model cannot handle. */
let position = 0;
const unreadable = () => ({ follower: 'read model certificates', position });
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await defineLine(ctx, { line: 'meter' }, 'operator:alice');
    await establishIssuingCa(ctx, 'device', 'heater');
    await mint(ctx, chip, newUid());
    rita = await addOperator(ctx, 'rita', ['releaseManager'], 'operator:alice');
    rolf = await addOperator(ctx, 'rolf', ['releaseManager'], 'operator:alice');
    olga = await addOperator(ctx, 'olga', ['securityOfficer'], 'operator:alice');
    otto = await addOperator(ctx, 'otto', ['securityOfficer'], 'operator:alice');
    const image = { line: 'meter', image: 'app', version: parseVersion('2.0.0'), counter: 5 } as const;
    share = { ...share, jobId: (await createJob(ctx, { line: 'meter', plannedCount: 5 }, 'operator:alice')).jobId };
    const open = { type: 'OpenAllotment', ...share, quota: 4, scrapAllowance: 0 } as const;
    for (const command of [open, { type: 'FreezeAllotment', reason: 'stolen', by: 'operator:olga' } as const])
      await execute(ctx, allotment, allotmentStream(share.jobId, share.programmer), command, 'operator:olga');
    ctx.subjects.of('operator', 'gone');
    const odd = { id: ctx.newId(), type: 'IssuingCaEstablished', at: ctx.clock().toISOString(), by: 'system:test', data: { icaId: 'x' } };
    ({ position } = await ctx.store.append('elsewhere-x', 'none', [odd]));
    releaseId = (await uploadRelease(ctx, image, new Uint8Array(randomBytes(3000)), 'operator:rita')).releaseId;
  });
});
afterAll(() => server?.close());

type Json = Readonly<Record<string, unknown>>;
async function ask(token: string, method: string, path: string, body?: unknown): Promise<Json> {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  const options = { ca: server.rootPem, method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) };
  return (await exchange(`${server.url}${path}`, options)).json;
}
const eventsOf = async (type: string): Promise<readonly Json[]> => {
  const { events } = (await ask(server.alice, 'GET', '/v1/events?limit=500')) as { events: { type: string; data: Json }[] };
  return events.filter(event => event.type === type).map(({ data }) => data);
};

/** @param propose gives what is to be approved, with its hash, and where */
type Case = {
  /** Of the OpenAPI document. */
  readonly route: string;
  readonly what: string;
  readonly event: string;
  /** What the approval says besides. */
  readonly body?: Json | (() => Json);
  readonly propose: () => Promise<{ readonly seen: Json; readonly path: string; readonly token: string }>;
};
const cases: readonly Case[] = [
  {
    what: 'a release',
    route: '/v1/releases/{id}/approve',
    event: 'ReleaseApproved',
    propose: async () => ({
      seen: await ask(rolf, 'GET', `/v1/releases/${releaseId}`),
      path: `/v1/releases/${releaseId}/approve`,
      token: rolf,
    }),
  },
  {
    what: 'a rollout',
    route: '/v1/rollouts/{id}/approve',
    event: 'RolloutApproved',
    propose: async () => {
      await ask(rita, 'POST', `/v1/releases/${releaseId}/publish`);
      const seen = await ask(rita, 'POST', '/v1/rollouts', { releaseId, devices: [chip] });
      return { seen, path: `/v1/rollouts/${seen.rolloutId}/approve`, token: rolf };
    },
  },
  {
    what: 'a ceremony',
    route: '/v1/authority/ceremonies/{id}/approve',
    event: 'CeremonyApproved',
    propose: async () => {
      const seen = await ask(server.alice, 'POST', '/v1/authority/ceremonies', { type: 'establishPackageKey' });
      return { seen, path: `/v1/authority/ceremonies/${seen.id}/approve`, token: server.bob };
    },
  },
  {
    what: 'a revocation in bulk',
    route: '/v1/bulk-revocations/{id}/approve',
    event: 'BulkRevocationApproved',
    propose: async () => {
      const wish = { selection: { uids: [chip] }, reason: 'keyCompromise', note: 'batch 7' };
      const seen = await ask(olga, 'POST', '/v1/bulk-revocations', wish);
      return { seen, path: `/v1/bulk-revocations/${seen.id}/approve`, token: otto };
    },
  },
  {
    what: 'an allowance',
    route: '/v1/operators/{name}/allowances/{id}/approve',
    event: 'EffectAllowanceApproved',
    propose: async () => {
      const seen = await ask(olga, 'POST', '/v1/operators/me/allowances', { effect: 'revoke', count: 3, note: 'batch 8' });
      return { seen, path: `/v1/operators/olga/allowances/${seen.id}/approve`, token: otto };
    },
  },
  {
    what: 'a change of people',
    route: '/v1/operator-changes/{id}/approve',
    event: 'OperatorChangeApproved',
    propose: async () => {
      const wish = { name: 'carol', roles: ['releaseManager'], tokenSha256: '5a'.repeat(32) };
      const seen = (await ask(server.alice, 'POST', '/v1/operators', wish)).proposal as Json;
      return { seen, path: `/v1/operator-changes/${seen.id}/approve`, token: server.bob };
    },
  },
  {
    what: 'a lasting change of a line',
    route: '/v1/lines/{line}/approve',
    event: 'LineChangeApproved',
    propose: async () => {
      const { proposed } = await ask(rita, 'POST', '/v1/lines/meter/floor', { floor: 99 });
      return { seen: proposed as Json, path: '/v1/lines/meter/approve', token: rolf };
    },
  },
  {
    what: 'a thaw',
    route: '/v1/jobs/{id}/allotments/{programmer}/thaw-proposals/{proposal}/approve',
    event: 'AllotmentThawed',
    propose: async () => {
      const path = `/v1/jobs/${share.jobId}/allotments/${share.programmer}/thaw-proposals`;
      const { id } = await ask(server.alice, 'POST', path, { reason: 'it was found' });
      const { proposals } = (await ask(olga, 'GET', path)) as { proposals: readonly [Json] };
      return { seen: proposals[0], path: `${path}/${id}/approve`, token: olga };
    },
  },
  {
    what: 'an erasure',
    route: '/v1/subjects/{id}/erase',
    event: 'SubjectErasureApproved',
    body: { reason: 'asked for it too' },
    propose: async () => {
      const { subjects } = (await ask(server.alice, 'GET', '/v1/subjects')) as { subjects: { id: string; name: string }[] };
      const path = `/v1/subjects/${subjects.find(({ name }) => name === 'gone')?.id}/erase`;
      return { seen: await ask(server.alice, 'POST', path, { reason: 'asked for it' }), path, token: server.bob };
    },
  },
  {
    what: 'an event that a follower skips',
    route: '/v1/log/parked',
    event: 'EventParked',
    body: () => ({ ...unreadable(), reason: 'so it is' }),
    propose: async () => {
      const seen = await ask(olga, 'POST', '/v1/log/parked', { ...unreadable(), reason: 'of a test tool' });
      return { seen, path: '/v1/log/parked', token: otto };
    },
  },
];

/** Where the approver sends what was seen, and that is all there is; the release of a job is in test/attacks/singlePlanner.test.ts, the debug unlock in
 *  test/services/production/repairs.test.ts. */
const elsewhere = ['/v1/jobs/{id}/release', '/v1/devices/{uid}/repair/unlock/approve'];

it('is known here of every route that approves something (I16)', async () => {
  covers('I16');
  const document = await ask(server.alice, 'GET', '/openapi.json');
  const { paths, components } = document as { paths: Record<string, { post?: Json }>; components: { schemas: Json } };
  const takesHash = ({ post }: { post?: Json }): boolean => {
    const text = JSON.stringify(post?.requestBody ?? '');
    const [, schema = ''] = /#\/components\/schemas\/(\w+)/.exec(text) ?? [];
    return `${text}${JSON.stringify(components.schemas[schema] ?? '')}`.includes('contentSha256');
  };
  const seen = Object.entries(paths).filter(([, path]) => takesHash(path));
  const approving = Object.keys(paths).filter(path => /\/approve$/.test(path) || isConfirmed(path.replaceAll(/[{}]/g, '')));
  const covered = [...cases.map(({ route }) => route), ...elsewhere].sort();
  expect(seen.map(([path]) => path).sort()).toEqual(covered);
  // One's own further authenticator approves nothing.
  expect(approving.filter(path => path !== '/v1/operators/me/authenticators').sort()).toEqual(covered);
});

it.each(cases)('$what is approved as it was seen, and the event keeps the hash (I16)', async ({ event, propose, body = {} }) => {
  covers('I16');
  const { seen, path, token } = await propose();
  const approve = (contentSha256: unknown) => ask(token, 'POST', path, { ...(typeof body === 'function' ? body() : body), contentSha256 });
  expect(seen.contentSha256).toMatch(/^[0-9a-f]{64}$/);
  expect((await approve('ab'.repeat(32))).code).toBe('CONFLICT');
  expect(await eventsOf(event)).toEqual([]);
  expect((await approve(seen.contentSha256)).code).toBeUndefined();
  expect(await eventsOf(event)).toEqual([expect.objectContaining({ contentSha256: seen.contentSha256 })]);
});

it('shows the approver of a bulk revocation which devices it is about', async () => {
  const { bulkRevocations } = (await ask(otto, 'GET', '/v1/bulk-revocations')) as { bulkRevocations: { id: string }[] };
  const url = `${server.url}/v1/bulk-revocations/${bulkRevocations[0]?.id}/devices`;
  const { text } = await exchange(url, { ca: server.rootPem, headers: { Authorization: `Bearer ${otto}` } });
  expect(text).toBe(`${chip}\n`);
});
