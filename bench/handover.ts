import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { startS3Double } from '../test/objects/s3Double.ts';
import { type Command, startCommand } from '../test/support/command.ts';
import { exchange } from '../test/support/http.ts';
import { withDouble } from './parts/kurrentDouble.ts';
import { inTemporaryFolder, median, type Report } from './parts/measure.ts';

/** How long two servers of one project are without a leader: two data folders, two processes, one event store (the protocol double in a process of its own;
 *  with KURRENTDB_URL, without TLS, that server) and one object store (a double). From the fault of the one until the other has the next epoch, and until
 *  it has signed a checkpoint over an event that was stored since. */

const rounds = 3;
const pollMs = 10;
const goalMs = 5000;

type Site = { readonly dataDir: string; readonly env: NodeJS.ProcessEnv; command: Command; httpsPort: number };
type Fault = { readonly name: string; begin(site: Site): void; end(site: Site): Promise<void> };

const faults: readonly Fault[] = [
  { name: 'killed', begin: ({ command }) => command.kill('SIGKILL'), end: site => serve(site) },
  {
    name: 'stopped',
    begin: ({ command }) => command.kill('SIGSTOP'),
    end: async ({ command }) => command.kill('SIGCONT'),
  },
  { name: 'ended', begin: ({ command }) => command.kill('SIGTERM'), end: site => serve(site) },
];

export async function run(report: Report): Promise<void> {
  const server = process.env.KURRENTDB_URL;
  if (server !== undefined) return bench('a server', server, report);
  await withDouble(url => bench('the double', url, report));
}

const bench = (where: string, url: string, report: Report): Promise<void> =>
  inTemporaryFolder(async folder => {
    const objects = await startS3Double();
    const keys = join(folder, 'objects');
    writeFileSync(keys, objects.credentials, { mode: 0o600 });
    const shared = { KURRENTDB_URL: url, NUSEC_OBJECT_STORE: objects.url('oem'), NUSEC_OBJECT_STORE_CREDENTIALS_FILE: keys };
    const site = (name: string): Site => ({
      dataDir: join(folder, name),
      env: {
        ...shared,
        ...{ NUSEC_STATE_DIR: join(folder, `${name}-state`), NUSEC_LOG_LEVEL: 'silent' },
        ...{ NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0', NUSEC_LINK_PORT: '0' },
      },
      command: undefined as unknown as Command,
      httpsPort: 0,
    });
    const [one, two] = [site('one'), site('two')];
    await tool(one, 'init', '--data', one.dataDir);
    const keyFile = join(folder, 'key');
    copyFileSync(join(one.dataDir, 'keystore.key'), keyFile);
    await tool(two, 'join', '--data', two.dataDir, '--key-file', keyFile);
    const ask = asking(one);
    try {
      await serve(one);
      await serve(two);
      let [leader, other] = [one, two];
      for (const fault of faults) {
        const taken: number[] = [];
        const stored: number[] = [];
        const signed: number[] = [];
        for (let round = 0; round < rounds; round += 1) {
          await ask.checkpoint(leader);
          const atMs = performance.now();
          const epoch = epochAt(other);
          fault.begin(leader);
          const ordered = ask.line(other).then(() => stored.push(performance.now() - atMs));
          taken.push(await until(() => epochAt(other) > epoch, atMs));
          await ordered;
          await ask.checkpoint(other);
          signed.push(performance.now() - atMs);
          await fault.end(leader);
          [leader, other] = [other, leader];
        }
        const bound = { unit: 'ms', bound: goalMs, boundWhat: 'goal' } as const;
        report({ figure: `leader ${fault.name}, order at the other, ${where}`, value: median(stored), ...bound });
        report({ figure: `leader ${fault.name}, next epoch, ${where}`, value: median(taken), ...bound });
        report({ figure: `leader ${fault.name}, checkpoint by the next, ${where}`, value: median(signed), ...bound });
        report({ figure: `leader ${fault.name}, the same, longest of ${rounds}`, value: Math.max(...signed), ...bound });
      }
    } finally {
      for (const { command } of [one, two]) command?.kill('SIGKILL');
      await objects.close();
    }
  });

async function tool({ env }: Site, ...args: readonly string[]): Promise<void> {
  const { status, err } = await startCommand([...args, '--json'], env).ended();
  if (status !== 0) throw new Error(`nusec ${args[0]}: ${err}`);
}

/** Starts a server, again when it has ended. */
async function serve(site: Site): Promise<void> {
  await site.command?.ended();
  site.command = startCommand(['server', '--data', site.dataDir, '--json'], site.env);
  site.httpsPort = Number((await site.command.ready).httpsPort);
}

/** The newest epoch in the copy of the log there. */
function epochAt({ dataDir }: Site): number {
  const file = new Database(join(dataDir, 'events.db'), { readonly: true });
  try {
    return file.prepare<number>('SELECT epoch FROM store').pluck().get() ?? 0;
  } finally {
    file.close();
  }
}

async function until(isSo: () => boolean, sinceMs: number): Promise<number> {
  while (!isSo()) await sleep(pollMs);
  return performance.now() - sinceMs;
}

/** What a person asks of a server. */
function asking({ dataDir }: Site) {
  let lines = 0;
  const headers = (): Record<string, string> => ({
    Authorization: `Bearer ${readFileSync(join(dataDir, 'alice.token'), 'utf8').trim()}`,
    'Content-Type': 'application/json',
  });
  const ask = ({ httpsPort }: Site, path: string, body?: object) =>
    exchange(`https://localhost:${httpsPort}${path}`, {
      ca: readFileSync(join(dataDir, 'root.pem'), 'utf8'),
      headers: headers(),
      ...(body && { body: JSON.stringify(body) }),
    });
  const insist = async (work: () => Promise<{ readonly status: number }>): Promise<void> => {
    while (((await work().catch(() => undefined))?.status ?? 999) >= 300) await sleep(pollMs);
  };
  return {
    line(site: Site) {
      lines += 1;
      const line = `line-${lines}`;
      return insist(() => ask(site, '/v1/lines', { line }));
    },
    checkpoint: (site: Site) => insist(() => ask(site, '/v1/log/checkpoint')),
  };
}
