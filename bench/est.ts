import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createApi } from '../src/api/app.ts';
import { createAuth } from '../src/api/auth.ts';
import { estResource } from '../src/api/est.ts';
import { closeServer, createApiServer } from '../src/api/server.ts';
import { readSettings } from '../src/config.ts';
import { listenOn } from '../src/listening.ts';
import { initialiseProject } from '../src/services/administration/initialise.ts';
import { authenticateOperator } from '../src/services/administration/operators.ts';
import { createAlarms } from '../src/services/base/alarms.ts';
import { noSpans } from '../src/services/base/spans.ts';
import { openContext } from '../src/services/dataFolder/open.ts';
import { createCertificateUse } from '../src/services/identity/certificateUse.ts';
import { startClientTrust } from '../src/services/identity/clientTrust.ts';
import { certifyGateway } from '../src/services/identity/enrolment.ts';
import { serverIdentity } from '../src/services/identity/serverCertificate.ts';
import { tlsFile } from '../src/services/identity/tlsFile.ts';
import { startRevocations } from '../src/services/revocation/revocations.ts';
import type { Services } from '../src/services/start/services.ts';
import { asked, bodyOf, clientOf, clients, estAt, gatewayRequests } from './parts/estRequests.ts';
import { besideRivals } from './parts/estRivals.ts';
import { inTemporaryFolder, interleave, perSecond, type Report } from './parts/measure.ts';
import { makeSoftHsm, type SoftHsm, softHsmMissing } from './parts/softHsm.ts';

/** Certificates through EST over HTTPS, each with durable events and blob: beside the same service without HTTPS, and with all keys in a SoftHSM
 *  token beside the same server with its keys in software; and the whole server as a process beside others. */

const requestsPerRound = 400;
const rounds = 9;

export async function run(report: Report): Promise<void> {
  await inTemporaryFolder(async folder => {
    const software = await startServer(join(folder, 'software'));
    const services = await interleave(rounds, software.throughHttps, software.direct);
    report({ figure: 'certificates over EST, durable, 8 clients', unit: '1/s', boundWhat: 'the service without HTTPS', ...services });
    await besideToken(report, folder, software);
    await software.close();
    await besideRivals(report, folder);
  });
}

async function besideToken(report: Report, folder: string, software: Server): Promise<void> {
  const figure = 'certificates over EST, keys in SoftHSM';
  const softHsm = makeSoftHsm(folder);
  if (softHsm === undefined) return report({ figure, notMeasured: softHsmMissing });
  const token = await startServer(join(folder, 'token'), softHsm);
  const measured = await interleave(rounds, token.throughHttps, software.throughHttps);
  await token.close();
  report({ figure, unit: '1/s', boundWhat: 'keys in software', ...measured });
}

/** Both give the certificates per second of one round, for the given number of parallel callers. */
type Server = { throughHttps(): Promise<number>; direct(): Promise<number>; close(): Promise<void> };

/** An HTTPS server of a new project with nothing but EST, and its clients in another thread. */
async function startServer(folder: string, softHsm?: SoftHsm): Promise<Server> {
  mkdirSync(folder);
  const token = softHsm && {
    NUSEC_KEYSTORE: 'pkcs11',
    NUSEC_PKCS11_MODULE: softHsm.module,
    NUSEC_PKCS11_TOKEN: softHsm.label,
    NUSEC_PKCS11_PIN_FILE: softHsm.pinFile,
  };
  const settings = readSettings(folder, { NUSEC_LOG_LEVEL: 'silent', ...token });
  const { ctx, close } = await openContext(settings, { https: 8443, crl: 8080 }, true);
  const { tokens } = await initialiseProject(ctx, { organization: 'Example', administrators: ['alice', 'bob'] });
  const revocations = await startRevocations(ctx);
  const trust = await startClientTrust(ctx, revocations);
  const tls = await serverIdentity({ ctx, alarms: createAlarms(ctx), file: tlsFile(ctx, join(folder, 'tls.identity')) }, ['localhost']);
  const person = async (given: string) => ({ kind: 'operator' as const, ...(await authenticateOperator(ctx, given)) });
  const services = {
    ctx,
    alarms: createAlarms(ctx),
    revocations,
    trust,
    certificateUse: createCertificateUse(ctx),
    spans: noSpans,
  } as Services;
  const server = createApiServer(createApi(services, createAuth({ person, machine: leaf => trust.identify(leaf) }), [estResource]), tls);
  const port = await listenOn(server, { port: 0, host: '127.0.0.1' });
  const worker = clientOf(estAt(port, tls.clientRootsPem, tokens[0]?.token ?? ''));
  /** Requests of gateways that are registered; the read models have seen them. */
  const newRequests = async () => {
    const wishes = await gatewayRequests(ctx, requestsPerRound);
    await ctx.reads.waitFor(await ctx.store.head());
    return wishes;
  };
  return {
    async throughHttps() {
      const wishes = await newRequests();
      return asked(worker, wishes.map(bodyOf));
    },
    async direct() {
      const wishes = await newRequests();
      const startMs = performance.now();
      const left = wishes.values();
      const client = async () => {
        for (const { id, csr } of left) await certifyGateway(ctx, id, csr, 'system:bench');
      };
      await Promise.all(Array.from({ length: clients }, client));
      return perSecond(wishes.length, startMs);
    },
    async close() {
      await worker.terminate();
      await closeServer(server);
      await trust.close();
      await revocations.close();
      await close();
    },
  };
}
