import type { TLSSocket } from 'node:tls';
import { createRoute, z } from '@hono/zod-openapi';
import type { Trouble } from '../eventstore/followers.ts';
import { toPem } from '../pki/pem.ts';
import { authorityOf, rootDer } from '../services/authority/authority.ts';
import { trustBundleFor } from '../services/authority/olderRoots.ts';
import { currentTrustBundle, rootForReader } from '../services/authority/trustBundle.ts';
import { type Context, nowIso } from '../services/base/context.ts';
import type { Services } from '../services/start/services.ts';
import { jsonAnswer } from './fields.ts';
import type { Resource } from './resource.ts';

/** Health and what everybody may know: the root certificate and the trust bundle. */

const okText = { 200: { description: 'as text', content: { 'text/plain': { schema: z.string() } } } };

const health = createRoute({ method: 'get', path: '/healthz', summary: 'The process lives', responses: okText });
const ready = createRoute({
  method: 'get',
  path: '/readyz',
  summary: 'Keystore open, event store writable, read models up, every follower of the log up; otherwise the names of those that are not',
  responses: { ...okText, 503: { description: 'not ready', content: { 'text/plain': { schema: z.string() } } } },
});
const time = createRoute({
  method: 'get',
  path: '/v1/time',
  summary: 'The time of the server, for machines without a clock; it counts by the key of the TLS connection',
  responses: { 200: jsonAnswer(z.object({ now: z.iso.datetime() }), 'now') },
});
const root = createRoute({ method: 'get', path: '/v1/authority/root.pem', summary: 'The RootCA certificate', responses: okText });
const bundle = createRoute({
  method: 'get',
  path: '/v1/trust-bundle',
  summary:
    'The newest trust bundle, COSE_Sign1 by a root: the one asked for, or that of the client certificate, or the oldest that is trusted; by SHA-256 also a retired one, which names the next',
  request: { query: z.strictObject({ root: z.string().max(64).optional() }) },
  responses: { 200: { description: 'COSE_Sign1', content: { 'application/cose': { schema: z.any() } } } },
});

/** What is in the way of serving; nothing when all is well. */
export async function readinessOf({ ctx, logCheck }: Pick<Services, 'ctx' | 'logCheck'>): Promise<readonly string[]> {
  const [keystore, store] = await Promise.all([ctx.keystore.health(), ctx.store.trouble()]);
  const found = logCheck.trouble();
  const log = [...(store === undefined ? [] : [`event store: ${store.code}`]), ...(found === undefined ? [] : [`event log: ${found}`])];
  return [...(keystore.ok ? [] : [keystore.detail]), ...log, ...readModelTroubles(ctx), ...ctx.followers.troubles().map(troubleText)];
}

export const systemResource: Resource = (api, services) => {
  const { ctx } = services;
  api.openapi(health, c => c.text('ok'));
  api.openapi(ready, async c => {
    const reasons = await readinessOf(services);
    return reasons.length === 0 ? c.text('ready', 200) : c.text(`not ready: ${reasons.join('; ')}`, 503);
  });
  api.openapi(time, c => c.json({ now: nowIso(ctx) }, 200));
  api.openapi(root, async c => c.text(toPem('CERTIFICATE', rootDer(await authorityOf(ctx)))));
  api.openapi(bundle, async c => {
    const authorities = await authorityOf(ctx);
    const peer = (c.env.incoming.socket as TLSSocket).getPeerX509Certificate?.();
    const root = c.req.valid('query').root ?? rootForReader(authorities, peer && new Uint8Array(peer.raw));
    const last = await trustBundleFor(ctx, authorities, [root], 0);
    return c.body(new Uint8Array(last?.bundle ?? (await currentTrustBundle(ctx, authorities, root))), 200, {
      'Content-Type': 'application/cose',
    });
  });
};

function troubleText({ name, behindEvents, failure }: Trouble): string {
  return failure === undefined ? `${name}: ${behindEvents} events behind` : `${name}: stopped, ${failure}`;
}

/** Read models that stopped before an event, or that are being built while there is no older build to show. */
function readModelTroubles({ reads, store }: Context): readonly string[] {
  const head = store.seen();
  return reads.health().projections.flatMap(({ name, status, fault, position, isShown }) => {
    if (fault !== undefined) return [`${name}: stopped before event ${fault.position}`];
    return status === 'building' && isShown ? [`${name}: rebuilding, ${Math.floor((100 * position) / Math.max(1, head))} %`] : [];
  });
}
