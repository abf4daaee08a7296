import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHttpClient, type HttpClient } from '../../gateway-device/link/httpClient.ts';
import { type Own, opening } from '../../src/closing.ts';
import type { Curve } from '../../src/ecKey.ts';
import { NusecError } from '../../src/errors.ts';
import { reservePorts } from './ports.ts';
import { type Finished, type Line, type Running, run, start, stopTimeoutMs } from './processes.ts';

/** The demo's world: a temporary folder, free ports on loopback, the server and whatever else was started. */

export type EventRecord = {
  readonly stream: string;
  readonly type: string;
  readonly at: string;
  readonly by: string;
  readonly position: number;
  readonly revision: number;
  readonly hash: string;
  readonly data: Line;
};

export type World = {
  readonly dir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly url: string;
  readonly mqtt: string;
  /** Both administrators over HTTPS. */
  readonly alice: HttpClient;
  readonly bob: HttpClient;
  readonly tokenFile: string;
  /** The processes of the server; they share the folder and the ports. */
  servers(): readonly Running[];
  /** Ends one process of the server with the given signal, and starts it again on the same folder and ports. */
  restartServer(signal: NodeJS.Signals, index?: number): Promise<void>;
  /** Starts a part as a process of its own; it ends with the world. */
  start(name: string, ...args: readonly string[]): Promise<Running>;
  /** Runs one command of the OEM's or the manufacturer's PC. */
  nusec(...args: readonly string[]): Promise<Finished>;
  file(name: string, content: Uint8Array): string;
  events(after?: number): Promise<readonly EventRecord[]>;
  /** The newest event that fits, waited for. */
  event(fits: (event: EventRecord) => boolean, what: string, timeoutMs?: number): Promise<EventRecord>;
  close(): Promise<void>;
};

const eventTimeoutMs = 60_000;
const pollMs = 40;
const maxEventsPerPage = 500;

/** All parts of the world that stop at the same time. */
const closeLimitMs = 2 * stopTimeoutMs;

type WorldOptions = {
  /** How long an event is waited for. */
  readonly patienceMs?: number;
  /** Of the server. */
  readonly processes?: number;
  /** Of root and issuing CAs. */
  readonly curve?: Curve;
  /** Of the server; default: in the folder of the world. */
  readonly dataFolder?: string;
  /** Of all processes, besides what they need. */
  readonly environment?: NodeJS.ProcessEnv;
};

/** Makes a project and starts its server. */
export const createWorld = (options: WorldOptions = {}): Promise<World> => opening(own => openWorld(own, options), closeLimitMs);

async function openWorld(own: Own, options: WorldOptions): Promise<Omit<World, 'close'>> {
  const { patienceMs = eventTimeoutMs, processes = 1, curve = 'P-256', environment = {}, dataFolder } = options;
  const dir = mkdtempSync(join(tmpdir(), 'nusec-demo-'));
  own('folder', { close: () => rmSync(dir, { recursive: true, force: true }) });
  const data = dataFolder ?? join(dir, 'server');
  const [https, mqtt, crl] = own('ports', await reservePorts(3)).ports;
  const env = {
    ...process.env,
    ...environment,
    NUSEC_HTTPS_PORT: String(https),
    NUSEC_MQTT_PORT: String(mqtt),
    NUSEC_CRL_PORT: String(crl),
    NUSEC_SHARE_PORTS: String(processes > 1),
    NUSEC_STATE_DIR: join(dir, 'state'),
    // What commands remember of a server.
    XDG_STATE_HOME: join(dir, 'state'),
    NUSEC_SERVER: `https://localhost:${https}`,
    NUSEC_CA: join(data, 'root.pem'),
    NUSEC_TOKEN_FILE: join(data, 'alice.token'),
  };
  const made = await run(['init', '--data', data, '--organization', 'Example OEM', '--curve', curve], env);
  if (made.status !== 0) throw new Error(`nusec init: ${JSON.stringify(made.error)}`);
  const startServer = () => start('server', ['server', '--data', data, '--json'], env);
  const servers: Running[] = [];
  own('servers', { close: () => Promise.all(servers.map(server => server.stop())) });
  while (servers.length < processes) servers.push(await startServer());
  const ca = readFileSync(env.NUSEC_CA, 'utf8');
  const person = (name: string) =>
    createHttpClient({ baseUrl: env.NUSEC_SERVER, ca, token: readFileSync(join(data, `${name}.token`), 'utf8').trim() });
  const alice = own('alice', person('alice'));
  const bob = own('bob', person('bob'));
  const started: Running[] = [];
  own('parts', { close: () => Promise.all(started.map(running => running.stop())) });
  const events = async (after = 0): Promise<readonly EventRecord[]> => {
    const { events: page } = await alice.json<{ events: readonly EventRecord[] }>(
      'GET',
      `/v1/events?after=${after}&limit=${maxEventsPerPage}`,
    );
    const last = page.at(-1);
    return page.length < maxEventsPerPage || last === undefined ? page : [...page, ...(await events(last.position))];
  };
  /** No events while the server is down: callers that wait for one ask again. */
  const eventsWhenUp = () =>
    events().catch(error => {
      if (error instanceof NusecError && error.code === 'SERVER_UNREACHABLE') return [];
      throw error;
    });
  return {
    dir,
    env,
    url: env.NUSEC_SERVER,
    mqtt: `localhost:${mqtt}`,
    alice,
    bob,
    tokenFile: env.NUSEC_TOKEN_FILE,
    servers: () => servers,
    async restartServer(signal, index = 0) {
      await servers[index]?.stop(signal);
      servers[index] = await startServer();
    },
    async start(name, ...args) {
      const running = await start(name, args, env);
      started.push(running);
      return running;
    },
    nusec: (...args) => run(args, env),
    file(name, content) {
      const path = join(dir, name);
      writeFileSync(path, content);
      return path;
    },
    events,
    async event(fits, what, timeoutMs = patienceMs) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const found = (await eventsWhenUp()).findLast(fits);
        if (found !== undefined) return found;
        if (Date.now() > deadline) throw new Error(`no event within ${timeoutMs} ms: ${what}`);
        await new Promise(resolve => setTimeout(resolve, pollMs));
      }
    },
  };
}
