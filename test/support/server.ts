import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { start } from '../../scripts/demo/processes.ts';
import { readSettings, type Settings } from '../../src/config.ts';
import { type RunningServer, startServer } from '../../src/main.ts';
import { toPem } from '../../src/pki/pem.ts';
import { initialiseProject } from '../../src/services/administration/initialise.ts';
import { authorityOf, rootDer } from '../../src/services/authority/authority.ts';
import type { Context } from '../../src/services/base/context.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';

/** A real server on loopback with free ports and a data folder of its own. */
export type TestServer = Omit<RunningServer, 'fault'> & {
  readonly url: string;
  readonly rootPem: string;
  /** Tokens of the two administrators. */
  readonly alice: string;
  readonly bob: string;
  readonly dataDir: string;
};

/** @param seed runs on the initialised project before the server starts @param ageDays of its authorities @param settings besides those of every test */
export async function startTestServer(seed?: Seed, ageDays?: number, settings: Partial<Settings> = {}): Promise<TestServer> {
  const project = await makeProject(seed, ageDays);
  const server = await startServer({ ...testSettings(project.dataDir), ...settings });
  return {
    ...server,
    ...project,
    url: `https://localhost:${server.httpsPort}`,
    async close() {
      await server.close();
      project.remove();
    },
  };
}

type Seed = (ctx: Context) => Promise<void>;

/** The data folder of an initialised project, with nobody at it. */
export async function makeProject(seed: Seed = async () => {}, ageDays?: number) {
  const dataDir = mkdtempSync(join(tmpdir(), 'nusec-server-'));
  const opened = await openContext(testSettings(dataDir), { https: 0, crl: 0 }, true);
  const { tokens } = await initialiseProject(ageDays === undefined ? opened.ctx : agedBy(opened.ctx, ageDays), {
    organization: 'Example OEM',
    administrators: ['alice', 'bob'],
  });
  const rootPem = toPem('CERTIFICATE', rootDer(await authorityOf(opened.ctx)));
  await seed(opened.ctx);
  await opened.close();
  const [alice = '', bob = ''] = tokens.map(({ token }) => token);
  return { dataDir, rootPem, alice, bob, remove: () => rmSync(dataDir, { recursive: true, force: true }) };
}

/** What is issued by this context counts from so long ago: an authority that is old already. */
export const agedBy = (ctx: Context, days: number): Context => ({ ...ctx, backdateMs: days * 86_400_000 });

export type ServerProcess = TestServer & { readonly pid: number; kill(): Promise<void> };

/** Server processes of one data folder, each with ports of its own; the folder goes with the test file. */
export async function startServerProcesses(count: number, seed?: Seed) {
  const project = await makeProject(seed);
  const running = new Set<ServerProcess>();
  const startOne = async (): Promise<ServerProcess> => {
    const process = await start('server', ['server', '--data', project.dataDir, '--json'], environment());
    const [httpsPort, mqttPort, crlPort] = ['httpsPort', 'mqttPort', 'crlPort'].map(name => Number(process.ready[name])) as [
      number,
      number,
      number,
    ];
    const end = (signal: NodeJS.Signals) => async () => {
      running.delete(one);
      await process.stop(signal);
    };
    const ports = { httpsPort, mqttPort, crlPort, url: `https://localhost:${httpsPort}` };
    const one: ServerProcess = { ...project, ...ports, pid: process.pid, close: end('SIGTERM'), kill: end('SIGKILL') };
    running.add(one);
    return one;
  };
  const first: ServerProcess[] = [];
  while (first.length < count) first.push(await startOne());
  return {
    dataDir: project.dataDir,
    first,
    startOne,
    async close() {
      await Promise.all([...running].map(one => one.close()));
      project.remove();
    },
  };
}

const environment = () => ({
  ...process.env,
  NUSEC_HTTPS_PORT: '0',
  NUSEC_MQTT_PORT: '0',
  NUSEC_CRL_PORT: '0',
  NUSEC_LOG_LEVEL: 'silent',
});

export const testSettings = (dataDir: string): Settings => readSettings(dataDir, environment());
