import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openClock } from '../../../gateway-device/agent/clock.ts';
import { createHttpClient } from '../../../gateway-device/link/httpClient.ts';
import { connectMqtt } from '../../../gateway-device/link/mqttClient.ts';
import type { ServerTrust } from '../../../gateway-device/link/serverCheck.ts';
import { createServerTime, type ServerTime } from '../../../gateway-device/link/serverTime.ts';
import { closeServer, createApiServer } from '../../../src/api/server.ts';
import { listenOn } from '../../../src/listening.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { fromPem, toPem } from '../../../src/pki/pem.ts';
import { verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { authorityOf, rootDer } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { openPlant, type Plant } from '../../services/production/plant.ts';
import { agentTrust } from '../../support/agentTrust.ts';
import { covers } from '../../support/covers.ts';
import { pollMs } from '../../support/limits.ts';
import { newTlsIdentity } from '../../support/tlsIdentity.ts';

/** A machine whose clock is years off: the server and its certificate are of another time than this process. */

const yearMs = 365.25 * 24 * 3_600_000;
let plant: Plant;
let ca: string;
beforeAll(async () => {
  // Its authorities are old, so that there is time behind and ahead of now.
  plant = await openPlant(ctx => ({ ...ctx, backdateMs: 5 * yearMs }));
  ca = toPem('CERTIFICATE', rootDer(await authorityOf(plant.ctx)));
});
afterAll(() => plant.close());

/** Serves at another time; its certificate is made then. */
async function servedAt(aheadMs: number, use: (url: string) => Promise<void>, host = '127.0.0.1', served = plant.api): Promise<void> {
  plant.moveClock(aheadMs);
  const dated = { ...plant.ctx, backdateMs: 3_600_000 };
  const api = createApiServer(served, await newTlsIdentity(dated, ['localhost']));
  const port = await listenOn(api, { port: 0, host });
  try {
    await use(`https://${host === '127.0.0.1' ? 'localhost' : host}:${port}`);
  } finally {
    await closeServer(api);
    plant.moveClock(-aheadMs);
  }
}

const bundle = async () => {
  const authorities = await authorityOf(plant.ctx);
  const { spki } = parseCertificate(rootDer(authorities));
  return { ...(await verifyTrustBundle(await currentTrustBundle(plant.ctx, authorities), spki)), issuedAtSeconds: 0 };
};

async function ask(url: string, serverTime: ServerTime | undefined, provenSeconds = 0, path = '/v1/time'): Promise<string> {
  const trusted = { ...(await bundle()), issuedAtSeconds: provenSeconds };
  const http = createHttpClient({ baseUrl: url, ca, bundle: trusted, ...(serverTime && { serverTime }) });
  try {
    return await http.json<{ now?: string }>('GET', path).then(
      ({ now = 'an answer' }) => now,
      (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
    );
  } finally {
    http.close();
  }
}

const fresh = (newestMs = 0, kept: number[] = []): ServerTime =>
  createServerTime(
    () => newestMs,
    toldMs => void kept.push(toldMs),
  );

describe('the agent of a gateway whose clock is years behind', () => {
  const identity = () => ({ tls: { key: '', cert: '', ca }, root: fromPem('CERTIFICATE', ca)[0] as Uint8Array });

  it('goes by the time of the server: over HTTPS, over MQTT, and for the certificates of devices (T14)', async () => {
    covers('T14');
    await servedAt(4 * yearMs, async url => {
      const { clock, server } = await agentTrust(identity, url);
      expect(Math.abs(clock.nowMs() - (Date.now() + 4 * yearMs))).toBeLessThan(60_000);
      const port = Number(new URL(url).port);
      const isReached = (serverTrust: () => ServerTrust): Promise<boolean> => {
        const { promise, resolve } = Promise.withResolvers<boolean>();
        const who = { kind: 'gateway', gatewayId: 'hall-7' } as const;
        const tls = { secureContext: createSecureContext({ ca }) };
        const where = { host: 'localhost', port, servername: 'localhost', connectTimeoutMs: pollMs };
        // No MQTT is spoken there: who has taken it for the server is told nothing by it.
        const client = connectMqtt({ ...where, identity: who, tls, serverTrust, onOffline: (_, wasSecure) => resolve(wasSecure) });
        return promise.finally(() => client.close());
      };
      expect(await isReached(server)).toBe(true);
      expect(await isReached(() => ({ ...server(), byServerTime: { nowMs: Date.now(), host: 'localhost' } }))).toBe(false);
      expect(await isReached(() => ({ ...server(), byServerTime: { nowMs: clock.nowMs(), host: 'elsewhere' } }))).toBe(false);
    });
  });

  it('believes no server that is set back behind what it was told before, also after a restart (T14)', async () => {
    covers('T14');
    const folder = mkdtempSync(join(tmpdir(), 'nusec-clock-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const learned = async (url: string) => openClock(folder, url, () => ca).learn(await bundle());
    await servedAt(4 * yearMs, learned);
    await servedAt(0, async url => expect(learned(url)).rejects.toThrow('lies in the past'));
  });
});

describe('a machine that has no clock of its own', () => {
  it.each([
    ['behind', 4 * yearMs],
    ['ahead', -4 * yearMs],
  ])('speaks with a server of its OEM though its clock is years %s (T14)', async (_, aheadMs) => {
    covers('T14');
    await servedAt(aheadMs, async url => {
      const kept: number[] = [];
      const time = fresh(0, kept);
      expect(await ask(url, undefined)).toMatch(/SERVER_UNREACHABLE.*(not yet valid|has expired)/);
      const told = Date.parse(await ask(url, time));
      expect(Math.abs(told - (Date.now() + aheadMs))).toBeLessThan(60_000);
      expect(Math.abs((time.nowMs() ?? 0) - told)).toBeLessThan(60_000);
      expect(kept).toHaveLength(1);
    });
  });

  it('does not go back behind what it knows: its trust bundle, or the newest time it was told (T14)', async () => {
    covers('T14');
    await servedAt(-4 * yearMs, async url => {
      const past = /lies in the past/;
      expect(await ask(url, fresh(Date.now()))).toMatch(past);
      expect(await ask(url, fresh(), Date.now() / 1000)).toMatch(past);
    });
  });

  it('judges names and dates of the certificate itself, by the time it is told (T14)', async () => {
    covers('T14');
    await servedAt(0, async url => expect(await ask(url, fresh())).toMatch(/SERVER_UNREACHABLE: .*refused/), '127.0.0.2');
    await servedAt(0, async url => {
      // Whoever has a key whose certificate has ended tells the true time in vain.
      plant.moveClock(4 * yearMs);
      expect(await ask(url, fresh())).toMatch(/SERVER_UNREACHABLE: .*(expired|valid)/);
      plant.moveClock(-4 * yearMs);
    });
  });

  it('judges what it is connected to also when another connection learns the time meanwhile (T14)', async () => {
    covers('T14');
    await servedAt(0, async url => {
      plant.moveClock(4 * yearMs);
      let known: number | undefined;
      const time = fresh();
      const learnedElsewhere = () => {
        known = Date.now() + 4 * yearMs;
      };
      const shared: ServerTime = { ...time, nowMs: () => known, forget: learnedElsewhere };
      expect(await ask(url, shared)).toMatch(/SERVER_UNREACHABLE: .*(expired|valid)/);
      plant.moveClock(-4 * yearMs);
    });
  });

  it('learns the time again when it has slept longer than it knows', async () => {
    const time = fresh();
    await servedAt(0, async url => void (await ask(url, time)));
    await servedAt(4 * yearMs, async url => expect(await ask(url, time)).toMatch(/^\d{4}-/));
  });

  it('goes by its own clock with a server of a version that reports no time, and not behind what it knows (T14)', async () => {
    covers('T14');
    const older = {
      fetch: (request: Request, env: object) =>
        plant.api.fetch(request.url.endsWith('/v1/time') ? new Request(`${request.url}-not-yet`) : request, env),
    } as typeof plant.api;
    const path = '/openapi.json';
    const kept: number[] = [];
    await servedAt(0, async url => expect(await ask(url, fresh(0, kept), 0, path)).toBe('an answer'), undefined, older);
    // A machine whose clock is far behind knows better from its bundle.
    await servedAt(
      4 * yearMs,
      async url => expect(await ask(url, fresh(), (Date.now() + 4 * yearMs) / 1000, path)).toBe('an answer'),
      undefined,
      older,
    );
    await servedAt(
      -4 * yearMs,
      async url => expect(await ask(url, fresh(), 0, path)).toMatch(/SERVER_UNREACHABLE: .*refused/),
      undefined,
      older,
    );
    expect(kept).toEqual([]);
  });
});
