import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';

/** cfssl, where it is installed (Debian: golang-cfssl): signs over HTTPS and records each certificate in SQLite. */

export const cfsslMissing = 'cfssl is not installed';
export type Cfssl = { readonly port: number; readonly rootPem: string; recorded(): number; close(): Promise<void> };

const patienceMs = 20_000;
const pollMs = 50;
/** The tables that its migrations make. */
const schema = `
  CREATE TABLE certificates (
    serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL, reason int, expiry timestamp,
    revoked_at timestamp, pem blob NOT NULL, PRIMARY KEY (serial_number, authority_key_identifier)
  );`;

/** @param folder that it may fill @returns undefined when there is none */
export async function startCfssl(folder: string, port: number): Promise<Cfssl | undefined> {
  try {
    execFileSync('cfssl', ['version'], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  makeKeys(folder, 'ca', ['-addext', 'basicConstraints=critical,CA:TRUE']);
  makeKeys(folder, 'tls', ['-addext', 'subjectAltName=DNS:localhost']);
  const signing = { default: { expiry: '8760h', usages: ['signing', 'client auth'] } };
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ signing }));
  writeFileSync(join(folder, 'db.json'), JSON.stringify({ driver: 'sqlite3', data_source: join(folder, 'certificates.db') }));
  const database = new Database(join(folder, 'certificates.db'));
  database.exec(schema);
  const files = ['-ca', 'ca.pem', '-ca-key', 'ca.key', '-tls-cert', 'tls.pem', '-tls-key', 'tls.key', '-config', 'config.json'];
  const place = ['-address', '127.0.0.1', '-port', String(port), '-db-config', 'db.json', '-loglevel', '4'];
  const child = spawn('cfssl', ['serve', ...files, ...place], { cwd: folder, stdio: 'ignore' });
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()));
  await listening(port);
  return {
    port,
    rootPem: readFileSync(join(folder, 'tls.pem'), 'utf8'),
    recorded: () => (database.prepare('SELECT count(*) AS count FROM certificates').get() as { count: number }).count,
    async close() {
      child.kill();
      await ended;
      database.close();
    },
  };
}

function makeKeys(folder: string, name: string, more: readonly string[]): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}.key`];
  const args = ['req', '-x509', ...key, '-out', `${name}.pem`, '-days', '30', '-subj', `/CN=${name}`, ...more];
  execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
}

async function listening(port: number): Promise<void> {
  for (const until = performance.now() + patienceMs; performance.now() < until; await sleep(pollMs)) {
    const socket = connect(port, '127.0.0.1');
    const isThere = await new Promise<boolean>(resolve => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
    socket.destroy();
    if (isThere) return;
  }
  throw new Error('cfssl does not listen');
}
