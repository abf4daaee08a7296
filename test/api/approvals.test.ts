import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseVersion } from '../../src/domain/version.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { establishIssuingCa } from '../../src/services/authority/issuingCa.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { uploadRelease } from '../../src/services/firmware/releases.ts';
import { newUid } from '../services/parties.ts';
import { mint } from '../services/project.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** Every way to approve something: it counts for the content that was seen, and the event keeps its hash. Jobs: test/attacks/singlePlanner.test.ts;
 *  the debug unlock: test/services/production/repairs.test.ts. */

let server: TestServer;
let [rita, rolf, olga, otto] = ['', '', '', ''];
const chip = newUid();
let releaseId = '';
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
  readonly what: string;
  readonly event: string;
  readonly propose: () => Promise<{ readonly seen: Json; readonly path: string; readonly token: string }>;
};
const cases: readonly Case[] = [
  {
    what: 'a release',
    event: 'ReleaseApproved',
    propose: async () => ({
      seen: await ask(rolf, 'GET', `/v1/releases/${releaseId}`),
      path: `/v1/releases/${releaseId}/approve`,
      token: rolf,
    }),
  },
  {
    what: 'a rollout',
    event: 'RolloutApproved',
    propose: async () => {
      await ask(rita, 'POST', `/v1/releases/${releaseId}/publish`);
      const seen = await ask(rita, 'POST', '/v1/rollouts', { releaseId, devices: [chip] });
      return { seen, path: `/v1/rollouts/${seen.rolloutId}/approve`, token: rolf };
    },
  },
  {
    what: 'a ceremony',
    event: 'CeremonyApproved',
    propose: async () => {
      const seen = await ask(server.alice, 'POST', '/v1/authority/ceremonies', { type: 'establishPackageKey' });
      return { seen, path: `/v1/authority/ceremonies/${seen.id}/approve`, token: server.bob };
    },
  },
  {
    what: 'a revocation in bulk',
    event: 'BulkRevocationApproved',
    propose: async () => {
      const wish = { selection: { uids: [chip] }, reason: 'keyCompromise', note: 'batch 7' };
      const seen = await ask(olga, 'POST', '/v1/bulk-revocations', wish);
      return { seen, path: `/v1/bulk-revocations/${seen.id}/approve`, token: otto };
    },
  },
  {
    what: 'an allowance',
    event: 'EffectAllowanceApproved',
    propose: async () => {
      const seen = await ask(olga, 'POST', '/v1/operators/me/allowances', { effect: 'revoke', count: 3, note: 'batch 8' });
      return { seen, path: `/v1/operators/olga/allowances/${seen.id}/approve`, token: otto };
    },
  },
  {
    what: 'a change of people',
    event: 'OperatorChangeApproved',
    propose: async () => {
      const wish = { name: 'carol', roles: ['releaseManager'], tokenSha256: '5a'.repeat(32) };
      const seen = (await ask(server.alice, 'POST', '/v1/operators', wish)).proposal as Json;
      return { seen, path: `/v1/operator-changes/${seen.id}/approve`, token: server.bob };
    },
  },
];

it.each(cases)('$what is approved as it was seen, and the event keeps the hash (I16)', async ({ event, propose }) => {
  covers('I16');
  const { seen, path, token } = await propose();
  expect(seen.contentSha256).toMatch(/^[0-9a-f]{64}$/);
  expect((await ask(token, 'POST', path, { contentSha256: 'ab'.repeat(32) })).code).toBe('CONFLICT');
  expect(await eventsOf(event)).toEqual([]);
  expect((await ask(token, 'POST', path, { contentSha256: seen.contentSha256 })).code).toBeUndefined();
  expect(await eventsOf(event)).toEqual([expect.objectContaining({ contentSha256: seen.contentSha256 })]);
});

it('shows the approver of a bulk revocation which devices it is about', async () => {
  const { bulkRevocations } = (await ask(otto, 'GET', '/v1/bulk-revocations')) as { bulkRevocations: { id: string }[] };
  const url = `${server.url}/v1/bulk-revocations/${bulkRevocations[0]?.id}/devices`;
  const { text } = await exchange(url, { ca: server.rootPem, headers: { Authorization: `Bearer ${otto}` } });
  expect(text).toBe(`${chip}\n`);
});
