import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** A PostgreSQL server of its own for a benchmark, from Debian's packages, reached by a socket in a folder that the benchmark removes. */

const versionsFolder = '/usr/lib/postgresql';

/** What a figure says when it cannot be measured here. */
export const postgreSqlMissing = 'PostgreSQL is not installed (Debian package postgresql)';

export type PostgreSql = { readonly url: string; stop(): void };

/** Starts a server with Debian's defaults; so it waits for the disk with each commit. As root it runs as the user of the package, and is installed
 *  when it is missing. @returns undefined where there is none */
export function startPostgreSql(folder: string): PostgreSql | undefined {
  const bin = newestBin() ?? install();
  if (bin === undefined) return undefined;
  const data = join(folder, 'postgresql');
  mkdirSync(data);
  const user = process.getuid?.() === 0 ? ownUser() : {};
  if (user.uid !== undefined) {
    chmodSync(folder, 0o755);
    execFileSync('chown', ['postgres', data]);
  }
  const run = (program: string, ...args: readonly string[]) =>
    execFileSync(join(bin, program), args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: data, ...user });
  const cluster = join(data, 'cluster');
  run('initdb', '--pgdata', cluster, '--username', 'bench', '--auth', 'trust', '--encoding', 'UTF8');
  run('pg_ctl', 'start', '--wait', '--pgdata', cluster, '--log', join(data, 'log'), '--options', `-k ${data} -c listen_addresses=`);
  return {
    url: `postgresql://bench@localhost/postgres?host=${encodeURIComponent(data)}`,
    stop: () => void run('pg_ctl', 'stop', '--mode', 'immediate', '--pgdata', cluster),
  };
}

function newestBin(): string | undefined {
  if (!existsSync(versionsFolder)) return undefined;
  const bins = readdirSync(versionsFolder).map(version => join(versionsFolder, version, 'bin'));
  return bins.filter(bin => existsSync(join(bin, 'initdb'))).at(-1);
}

function install(): string | undefined {
  if (process.getuid?.() !== 0) return undefined;
  try {
    console.error('installing the Debian package postgresql for this benchmark');
    execFileSync('apt-get', ['install', '--yes', '--no-install-recommends', 'postgresql'], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  } catch {
    return undefined;
  }
  return newestBin();
}

function ownUser(): { readonly uid?: number; readonly gid?: number } {
  const id = (what: '-u' | '-g') => Number(execFileSync('id', [what, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}
