import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { certified, type Load } from './eventstoreLoad.ts';
import { perSecond } from './measure.ts';
import { postgreSqlMissing, startPostgreSql } from './postgresql.ts';

/** The peer of the event store: emmett-postgresql, the event store that most TypeScript projects would take, on Debian's PostgreSQL. It is fetched for
 *  the run, by exact versions, and is no dependency: it wants other versions of what is used here, and its packages name no license. */

const packages = ['@event-driven-io/emmett@0.42.0', '@event-driven-io/emmett-postgresql@0.42.0'];
/** Of Debian's PostgreSQL 100 at most. */
const maxConnections = 32;
const conflict = 412;
const installTimeoutMs = 300_000;

type Store = {
  appendToStream(stream: string, events: readonly { readonly type: string; readonly data: unknown }[]): Promise<unknown>;
  close(): Promise<void>;
};
type Emmett = { getPostgreSQLEventStore(url: string, options: object): Store };
type Pools = { Pool: new (options: object) => { end(): Promise<void> } };

export type Peer = { append(load: Load): Promise<number>; close(): Promise<void> };

/** @returns why it cannot be measured here, as a text, otherwise the peer */
export async function startEmmett(folder: string): Promise<Peer | string> {
  const server = startPostgreSql(folder);
  if (server === undefined) return postgreSqlMissing;
  try {
    const { emmett, pools } = await fetchPackages(join(folder, 'emmett'));
    const pool = new pools.Pool({ connectionString: server.url, max: maxConnections });
    const store = emmett.getPostgreSQLEventStore(server.url, { connectionOptions: { pool } });
    return {
      append: load => appendFor(store, load),
      async close() {
        await store.close();
        await pool.end();
        server.stop();
      },
    };
  } catch (error) {
    server.stop();
    return `emmett-postgresql cannot be fetched or started: ${(error as Error).message.split('\n')[0]}`;
  }
}

async function fetchPackages(folder: string): Promise<{ readonly emmett: Emmett; readonly pools: Pools }> {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}');
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...packages], {
    cwd: folder,
    stdio: 'pipe',
    timeout: installTimeoutMs,
  });
  const require = createRequire(join(folder, 'package.json'));
  const load = (name: string): Promise<unknown> => import(pathToFileURL(require.resolve(name)).href);
  const emmett = (await load('@event-driven-io/emmett-postgresql')) as Emmett;
  return { emmett, pools: ((await load('pg')) as { default: Pools }).default };
}

/** Two writers that begin the same stream at the same time: the second one is refused, whatever revision it expects. */
function unlessConflict(error: { readonly errorCode?: number }): false {
  if (error.errorCode !== conflict) throw error;
  return false;
}

/** The load that the event store has: each writer appends one event after the other to random streams. */
async function appendFor(store: Store, { writers, durationMs, devices }: Load): Promise<number> {
  const start = performance.now();
  let count = 0;
  const write = async (): Promise<void> => {
    while (performance.now() - start < durationMs) {
      const { type, data, at, by } = certified();
      const stream = `device-${Math.floor(Math.random() * devices)}`;
      const isStored = await store.appendToStream(stream, [{ type, data: { ...data, at, by } }]).then(() => true, unlessConflict);
      if (isStored) count += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  return perSecond(count, start);
}
