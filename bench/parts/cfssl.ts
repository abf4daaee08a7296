import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { isInstalled, makeKeys, type Rival, startRival } from './rival.ts';

/** cfssl, where it is installed (Debian: golang-cfssl): signs over HTTPS and records each certificate in SQLite. */

export const cfsslMissing = 'cfssl is not installed';
export type Cfssl = Rival & { recorded(): number };

/** The tables that its migrations make. */
const schema = `
  CREATE TABLE certificates (
    serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL, reason int, expiry timestamp,
    revoked_at timestamp, pem blob NOT NULL, PRIMARY KEY (serial_number, authority_key_identifier)
  );`;

/** @param folder that it may fill @returns undefined when there is none */
export async function startCfssl(folder: string, port: number): Promise<Cfssl | undefined> {
  if (!isInstalled('cfssl', 'version')) return undefined;
  makeKeys(folder, 'ca', ['-addext', 'basicConstraints=critical,CA:TRUE']);
  makeKeys(folder, 'tls', ['-addext', 'subjectAltName=DNS:localhost']);
  const signing = { default: { expiry: '8760h', usages: ['signing', 'client auth'] } };
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ signing }));
  writeFileSync(join(folder, 'db.json'), JSON.stringify({ driver: 'sqlite3', data_source: join(folder, 'certificates.db') }));
  const database = new Database(join(folder, 'certificates.db'));
  database.exec(schema);
  const files = ['-ca', 'ca.pem', '-ca-key', 'ca.key', '-tls-cert', 'tls.pem', '-tls-key', 'tls.key', '-config', 'config.json'];
  const place = ['-address', '127.0.0.1', '-port', String(port), '-db-config', 'db.json', '-loglevel', '4'];
  const rival = await startRival('cfssl', ['serve', ...files, ...place], { folder, port, rootPem: 'tls.pem' });
  return {
    ...rival,
    recorded: () => (database.prepare('SELECT count(*) AS count FROM certificates').get() as { count: number }).count,
    async close() {
      await rival.close();
      database.close();
    },
  };
}
