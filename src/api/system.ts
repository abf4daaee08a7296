import type { TLSSocket } from 'node:tls';
import { createRoute, z } from '@hono/zod-openapi';
import type { Trouble } from '../eventstore/followers.ts';
import { toPem } from '../pki/pem.ts';
import { alarmQueries } from '../projections/alarms.ts';
import { deviceQueries } from '../projections/devices.ts';
import { jobQueries } from '../projections/jobs.ts';
import { rolloutQueries } from '../projections/rollouts.ts';
import { authorityOf, rootDer } from '../services/authority/authority.ts';
import { trustBundleFor } from '../services/authority/olderRoots.ts';
import { currentTrustBundle, rootForReader } from '../services/authority/trustBundle.ts';
import { type Context, nowIso } from '../services/base/context.ts';
import type { PortFigures, Presence, PresenceNote } from '../services/field/presence.ts';
import type { Services } from '../services/start/services.ts';
import type { Resource } from './app.ts';
import { jsonAnswer } from './fields.ts';

/** Health, metrics and what everybody may know: the root certificate and the trust bundle. */

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
const metrics = createRoute({ method: 'get', path: '/metrics', summary: 'Prometheus figures', responses: okText });
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

export const systemResource: Resource = (api, services, auth) => {
  const { ctx, field } = services;
  api.openapi(health, c => c.text('ok'));
  api.openapi(ready, async c => {
    const reasons = await readinessOf(services);
    return reasons.length === 0 ? c.text('ready', 200) : c.text(`not ready: ${reasons.join('; ')}`, 503);
  });
  api.openapi(time, c => c.json({ now: nowIso(ctx) }, 200));
  api.use('/metrics', auth.person('auditor', 'service'));
  api.openapi(metrics, async c =>
    c.text(figures(ctx.store.seen(), ctx.reads.health().projections, field.presence, await fleetFigures(ctx))),
  );
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

const metric =
  (type: 'gauge' | 'counter') =>
  (name: string, help: string, samples: readonly string[]): readonly string[] => [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples,
  ];
const [gauge, counter] = [metric('gauge'), metric('counter')];

/** The MQTT port of this process. */
function portFigures(port: PortFigures): readonly string[] {
  const { handshakesInFlight: running, handshakesWaiting: waiting, silentConnections: silent } = port;
  const handshakes = Object.entries({ running, waiting, silent }).map(
    ([state, count]) => `nusec_mqtt_handshakes{state="${state}"} ${count}`,
  );
  const ended = Object.entries({ new: port.handshakes - port.resumed, resumed: port.resumed });
  return [
    ...gauge('nusec_mqtt_connections', 'TCP connections', [`nusec_mqtt_connections ${port.connections}`]),
    ...gauge('nusec_mqtt_online', 'Clients with a CONNACK', [`nusec_mqtt_online ${port.online}`]),
    ...gauge('nusec_mqtt_handshakes', 'Connections whose TLS handshake is not over', handshakes),
    ...counter(
      'nusec_mqtt_handshakes_total',
      'TLS handshakes that ended well',
      ended.map(([session, count]) => `nusec_mqtt_handshakes_total{session="${session}"} ${count}`),
    ),
  ];
}

/** What has happened at the MQTT ports of all processes. */
function mqttFigures(presence: Pick<Presence, 'port' | 'counts'>): readonly string[] {
  const port = presence.port();
  const happened = (state: PresenceNote['state'], name: string, help: string): readonly string[] => {
    const counts = presence.counts().filter(each => each.state === state);
    return counter(
      name,
      help,
      counts.map(({ reason, count }) => `${name}${reason && `{reason="${reason}"}`} ${count}`),
    );
  };
  return [
    ...(port === undefined ? [] : portFigures(port)),
    ...happened('connected', 'nusec_mqtt_connects_total', 'Clients that came online, at all processes'),
    ...happened('disconnected', 'nusec_mqtt_disconnects_total', 'Clients that left or were cut, at all processes'),
    ...happened('refused', 'nusec_mqtt_refusals_total', 'Connections that were refused, at all processes'),
  ];
}

const mostCounted = 500;

/** What an operator looks at first: devices by state, open alarms, rollouts and jobs under way. Each comes from an index or from kept counts. */
async function fleetFigures(ctx: Context): Promise<readonly string[]> {
  const { db } = ctx.reads;
  const [counts, alarms, rollouts, jobs] = await Promise.all([
    deviceQueries(db).counts(),
    alarmQueries(db).cases({ state: 'open', limit: mostCounted, now: nowIso(ctx) }),
    rolloutQueries(db).page({ status: 'RUNNING', limit: mostCounted }),
    jobQueries(db).page({ status: 'RUNNING', limit: mostCounted }),
  ]);
  const byStatus = new Map<string, number>();
  for (const { status, count } of counts) byStatus.set(status, (byStatus.get(status) ?? 0) + count);
  return [
    ...gauge(
      'nusec_devices',
      'Devices in each state',
      [...byStatus].map(([status, count]) => `nusec_devices{status="${status}"} ${count}`),
    ),
    ...gauge('nusec_alarms_open', `Alarm cases that are open, ${mostCounted} at most`, [`nusec_alarms_open ${alarms.length}`]),
    ...gauge('nusec_rollouts_running', 'Rollouts under way', [`nusec_rollouts_running ${rollouts.length}`]),
    ...gauge('nusec_jobs_running', 'Production jobs under way', [`nusec_jobs_running ${jobs.length}`]),
  ];
}

/** Prometheus text format, version 0.0.4. */
function figures(
  head: number,
  projections: readonly { name: string; behindEvents: number; status: string }[],
  presence: Pick<Presence, 'port' | 'counts'>,
  fleet: readonly string[],
): string {
  const memory = process.memoryUsage();
  return [
    ...counter('nusec_events_total', 'Events in the log', [`nusec_events_total ${head}`]),
    ...fleet,
    ...gauge(
      'nusec_projection_behind_events',
      'Events a read model has yet to see',
      projections.map(({ name, behindEvents }) => `nusec_projection_behind_events{projection="${name}"} ${behindEvents}`),
    ),
    ...mqttFigures(presence),
    ...gauge('process_resident_memory_bytes', 'Resident memory', [`process_resident_memory_bytes ${memory.rss}`]),
    ...gauge('nodejs_heap_used_bytes', 'Heap in use', [`nodejs_heap_used_bytes ${memory.heapUsed}`]),
    ...gauge('process_uptime_seconds', 'Seconds since the start', [`process_uptime_seconds ${Math.floor(process.uptime())}`]),
    '',
  ].join('\n');
}
