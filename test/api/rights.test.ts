import { randomBytes } from 'node:crypto';
import { Agent } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { device, deviceStream } from '../../src/domain/device.ts';
import { programmerStream } from '../../src/domain/programmer.ts';
import { type Role, roles, type Scope } from '../../src/domain/roles.ts';
import { parseVersion } from '../../src/domain/version.ts';
import { newEvent } from '../../src/eventstore/recorded.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { type Context, execute, nowIso } from '../../src/services/base/context.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { approveRelease, publishRelease, uploadRelease } from '../../src/services/firmware/releases.ts';
import { planRollout } from '../../src/services/firmware/rolloutPlan.ts';
import { createJob } from '../../src/services/production/jobs.ts';
import { registerProgrammer } from '../../src/services/production/programmers.ts';
import { newUid } from '../services/parties.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { type Reach, rights } from './rights.ts';

/** Role × scope × every route, asked of a real server. */

const by = 'operator:alice';
const site = 'Example CM';
const scopes = {
  none: undefined,
  line: { lines: ['meter'] },
  site: { sites: [site] },
  otherLine: { lines: ['heater'] },
  otherSite: { sites: ['Other CM'] },
} satisfies Record<string, Scope | undefined>;
type ScopeName = keyof typeof scopes;

const agent = new Agent({ keepAlive: true, maxSockets: 4 });
const ids = { device: newUid(), programmer: newUid(), job: '', release: '', rollout: '', line: 'meter' };
const tokens = new Map<string, string>();
let server: TestServer;
let routes: readonly string[] = [];

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await seedThings(ctx);
    for (const role of roles)
      for (const [name, scope] of Object.entries(scopes))
        tokens.set(`${role} ${name}`, await addOperator(ctx, personOf(role, name as ScopeName), [role], by, scope));
  });
  const { json } = await exchange(`${server.url}/openapi.json`, { ca: server.rootPem });
  // EST has tests of its own: its routes are for machines and declare nothing themselves.
  const paths = Object.entries(json.paths as Record<string, object>).filter(
    ([path]) => path.startsWith('/v1/') || !path.includes('.well-known'),
  );
  routes = paths.flatMap(([path, methods]) => Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`));
});
afterAll(async () => {
  agent.destroy();
  await server?.close();
});

const personOf = (role: Role, scope: ScopeName): string => `${role}.${scope}`.toLowerCase();

/** One of each kind: of line `meter`, and where it has one, at the site. */
async function seedThings(ctx: Context): Promise<void> {
  for (const line of ['meter', 'heater']) await defineLine(ctx, { line }, by);
  ids.job = (await createJob(ctx, { line: 'meter', plannedCount: 5, site }, by)).jobId;
  const image = { line: 'meter', image: 'app', version: parseVersion('2.0.0'), counter: 5 } as const;
  ids.release = (await uploadRelease(ctx, image, new Uint8Array(randomBytes(3000)), by)).releaseId;
  await approveRelease(ctx, ids.release, 'operator:bob');
  await publishRelease(ctx, ids.release, by);
  await registerProgrammer(ctx, ids.programmer, 'NuLink3', by);
  const shipped = newEvent('ProgrammerShipped', { to: site }, { id: ctx.newId(), at: nowIso(ctx), by });
  await ctx.store.append(programmerStream(ids.programmer), 'any', [shipped]);
  const unit = { uid: ids.device, objId: newUid(), line: 'meter', jobId: ids.job, programmer: ids.programmer, grantId: newUid() };
  await execute(ctx, device, deviceStream(ids.device), { type: 'MintDevice', ...unit }, by);
  ids.rollout = await planRollout(ctx, { releaseId: ids.release, devices: [ids.device] }, by);
}

type Asked = { readonly route: string; readonly role: Role; readonly scope: ScopeName };

async function ask({ route, role, scope }: Asked): Promise<{ readonly code: string; readonly detail: string }> {
  const [method = '', path = ''] = route.split(' ');
  const [, reach = 'all'] = rights[route] ?? [];
  const url = `${server.url}${path.replaceAll(/\{(\w+)\}/g, (_, name) => placeholder(name, reach, personOf(role, scope)))}${query(route)}`;
  const headers = { Authorization: `Bearer ${tokens.get(`${role} ${scope}`)}`, 'Content-Type': 'application/json' };
  const body = method === 'GET' || method === 'DELETE' ? undefined : bodyOf(route);
  const { status, json } = await exchange(url, { ca: server.rootPem, agent, method, headers, ...(body !== undefined && { body }) });
  return status < 400 ? { code: 'OK', detail: '' } : { code: String(json.code), detail: String(json.detail) };
}

function placeholder(name: string, reach: Reach, person: string): string {
  const id = reach in ids && !['programmer', 'grantId', 'sha256'].includes(name) ? ids[reach as keyof typeof ids] : newUid();
  return { name: reach === 'own' ? person : 'nobody', sha256: newUid() + newUid(), epoch: '1' }[name] ?? id;
}

/** A stream would never end: it is asked for what it refuses once the person is let in. */
const query = (route: string): string =>
  ({ 'POST /v1/releases': '?line=meter&image=app', 'GET /v1/events/stream': '?after=nowhere' })[route] ?? '';

/** What makes something says where; everything else is broken JSON, so that nothing happens. */
const bodyOf = (route: string): string =>
  ({
    'POST /v1/jobs': JSON.stringify({ line: 'meter', plannedCount: 1, site }),
    'POST /v1/rollouts': JSON.stringify({ releaseId: ids.release, devices: [ids.device] }),
  })[route] ?? '{';

/** Which scopes the thing of a route is within, and beyond. */
const fitting = (reach: Reach, route: string): { readonly own: ScopeName; readonly foreign: ScopeName } =>
  ['release', 'rollout', 'line'].includes(reach) || route === 'POST /v1/releases' || route === 'POST /v1/rollouts'
    ? { own: 'line', foreign: 'otherLine' }
    : { own: 'site', foreign: 'otherSite' };

describe('every route has a decision for every role and scope (T17)', () => {
  it('lists no route without one, and no decision without a route', () => {
    covers('T17');
    expect(routes.length).toBeGreaterThan(100);
    expect([...routes].sort()).toEqual(Object.keys(rights).sort());
  });

  it.each(roles)('answers %s accordingly, without a scope, within it and beyond it', async role => {
    covers('T17');
    for (const [route, [who, reach]] of Object.entries(rights)) {
      const { own, foreign } = fitting(reach, route);
      const thing = ['all', 'own', 'lists', 'place'].includes(reach) ? undefined : reach;
      const isAllowed = who === 'open' || (who !== 'machine' && (role === 'administrator' || who.includes(role)));
      for (const scope of ['none', own, foreign] as const) {
        const { code, detail } = await ask({ route, role, scope });
        const where = `${route} as ${personOf(role, scope)}: ${code} ${detail}`;
        const isBeyond = scope === foreign || (role === 'lineOperator' && scope === 'none');
        if (who === 'machine') expect(code, where).toBe('CLIENT_CERTIFICATE_REQUIRED');
        else if (!isAllowed) expect(code, where).toBe('FORBIDDEN');
        else if (who !== 'open' && reach === 'all' && scope !== 'none') expect(code, where).toBe('FORBIDDEN');
        else if (thing !== undefined && isBeyond) expect(detail, where).toContain(`there is no ${thing}`);
        else if (reach === 'place' && isBeyond) expect(['FORBIDDEN', 'NOT_FOUND'], where).toContain(code);
        else {
          expect(['FORBIDDEN', 'UNAUTHENTICATED'], where).not.toContain(code);
          expect(detail, where).not.toContain(`there is no ${thing} `);
        }
      }
    }
  });
});
