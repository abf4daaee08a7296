import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allotmentsResource } from '../../../src/api/allotments.ts';
import { createApi } from '../../../src/api/app.ts';
import { createAuth } from '../../../src/api/auth.ts';
import { jobsResource } from '../../../src/api/jobs.ts';
import { linesResource } from '../../../src/api/lines.ts';
import { productionResource } from '../../../src/api/production.ts';
import { programmerSelfResource } from '../../../src/api/programmerSelf.ts';
import { programmersResource } from '../../../src/api/programmers.ts';
import { releasesResource } from '../../../src/api/releases.ts';
import { repairsResource } from '../../../src/api/repairs.ts';
import { seriesResource } from '../../../src/api/series.ts';
import { systemResource } from '../../../src/api/system.ts';
import { readSettings } from '../../../src/config.ts';
import type { Role } from '../../../src/domain/roles.ts';
import { initialiseProject } from '../../../src/services/administration/initialise.ts';
import { addOperator, authenticateOperator } from '../../../src/services/administration/operators.ts';
import { createAlarms } from '../../../src/services/base/alarms.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { noSpans } from '../../../src/services/base/spans.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { createCertificateUse } from '../../../src/services/identity/certificateUse.ts';
import { startClientTrust } from '../../../src/services/identity/clientTrust.ts';
import { createWebhookFigures } from '../../../src/services/integration/webhookFigures.ts';
import { startRevocations } from '../../../src/services/revocation/revocations.ts';
import type { Services } from '../../../src/services/start/services.ts';

/** The server's own parts in one process on a temporary folder, without sockets: requests go straight into the API. A machine's request
 *  carries its certificate, which is judged as TLS would have it judged. Time can be moved. */
export type Plant = Awaited<ReturnType<typeof openPlant>>;
/** Where requests go: the API in this process, or a server over HTTPS. */
export type Site = Pick<Plant, 'call' | 'ask' | 'code'>;
// biome-ignore lint/suspicious/noExplicitAny: an answer is read as its test expects it
export type Body = any;
export type Answer = { readonly status: number; readonly body: Body; readonly bytes: Uint8Array };

const people: Readonly<Record<string, readonly Role[]>> = {
  olga: ['securityOfficer'],
  pia: ['productionPlanner'],
  paul: ['productionPlanner'],
  rita: ['releaseManager'],
  rolf: ['releaseManager'],
  aldo: ['auditor'],
};
/** A line operator at the manufacturer that programmers are shipped to here. */
const lineOperator = { name: 'lino', scope: { sites: ['CM'] } } as const;

/** @param place where its data folder is made, and the port that packages name as the server's */
export async function openPlant(wrap: (ctx: Context) => Context = ctx => ctx, place: { folder?: string; httpsPort?: number } = {}) {
  const dataDir = mkdtempSync(join(place.folder ?? tmpdir(), 'nusec-plant-'));
  const settings = readSettings(dataDir, { NUSEC_LOG_LEVEL: 'silent' });
  const opened = await openContext(settings, { https: place.httpsPort ?? 8443, crl: 8080 }, true);
  let aheadMs = 0;
  const ctx = wrap({ ...opened.ctx, clock: () => new Date(Date.now() + aheadMs) });
  const { tokens } = await initialiseProject(ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
  const tokenOf = new Map(tokens.map(({ name, token }) => [name, token]));
  for (const [name, roles] of Object.entries(people)) tokenOf.set(name, await addOperator(ctx, name, roles, 'operator:alice'));
  const { name, scope } = lineOperator;
  tokenOf.set(name, await addOperator(ctx, name, ['lineOperator'], 'operator:alice', scope));
  const revocations = await startRevocations(ctx);
  const trust = await startClientTrust(ctx, revocations);
  const services: Services = {
    ctx,
    alarms: createAlarms(ctx),
    tokenUse: undefined as never,
    openId: undefined,
    revocations,
    trust,
    certificateUse: createCertificateUse(ctx),
    channel: undefined as never,
    field: undefined as never,
    attestations: undefined as never,
    ocsp: undefined as never,
    bulkRevocations: undefined as never,
    evidence: undefined as never,
    newestCheckpoint: undefined as never,
    spans: noSpans,
    webhooks: undefined as never,
    webhookFigures: createWebhookFigures(),
    logCheck: { trouble: () => undefined, close: async () => {} },
  };
  const person = async (token: string) => ({ kind: 'operator' as const, ...(await authenticateOperator(ctx, token)) });
  const auth = createAuth({ person, machine: leaf => trust.identify(leaf) });
  const api = createApi(services, auth, [
    systemResource,
    linesResource,
    releasesResource,
    programmersResource,
    programmerSelfResource,
    seriesResource,
    jobsResource,
    allotmentsResource,
    productionResource,
    repairsResource,
  ]);

  /** @param who a person's name, or a machine's certificate (DER) */
  async function call(who: string | Uint8Array, method: string, path: string, body?: unknown): Promise<Answer> {
    const headers: Record<string, string> = typeof who === 'string' ? { Authorization: `Bearer ${tokenOf.get(who)}` } : {};
    const type = body instanceof Uint8Array ? 'application/octet-stream' : typeof body === 'string' ? 'text/plain' : 'application/json';
    const payload = body instanceof Uint8Array || typeof body === 'string' ? body : JSON.stringify(body ?? {});
    const init = method === 'GET' ? { method, headers } : { method, headers: { ...headers, 'Content-Type': type }, body: payload };
    const socket = { getPeerX509Certificate: () => (typeof who === 'string' ? undefined : { raw: Buffer.from(who) }) };
    const response = await api.request(path, init as RequestInit, { incoming: { socket } } as never);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const isJson = /json/.test(response.headers.get('Content-Type') ?? '');
    return { status: response.status, bytes, body: isJson ? JSON.parse(new TextDecoder().decode(bytes)) : new TextDecoder().decode(bytes) };
  }
  return {
    ctx,
    dataDir,
    services,
    api,
    /** Of a person by name. */
    tokenOf: (name: string): string => tokenOf.get(name) ?? '',
    call,
    ...asking(call),
    moveClock(ms: number) {
      aheadMs += ms;
    },
    alarms: async () => (await ctx.store.readAll(0, 100_000)).filter(event => event.type === 'AlarmRaised').map(event => event.data.code),
    async close() {
      await trust.close();
      await revocations.close();
      await opened.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

export type Call = (who: string | Uint8Array, method: string, path: string, body?: unknown) => Promise<Answer>;

/** Ways to read an answer. */
export const asking = (call: Call) => ({
  /** As `call`, but anything else than success is an error. */
  async ask(who: string | Uint8Array, method: string, path: string, body?: unknown): Promise<Body> {
    const answer = await call(who, method, path, body);
    if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  },
  /** The code of a refusal, or the status of a success. */
  async code(who: string | Uint8Array, method: string, path: string, body?: unknown): Promise<string | number> {
    const answer = await call(who, method, path, body);
    return answer.status >= 400 ? String(answer.body.code) : answer.status;
  },
});
