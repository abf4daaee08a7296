import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { startCommand } from './support/command.ts';
import { limitOfProcesses } from './support/limits.ts';

/** What docs/deploy.md has an operator run, outside of containers and units: secrets, the commands of docker-compose.yml, the database user. */

const root = new URL('../', import.meta.url).pathname;
const compose = parse(readFileSync(`${root}docker-compose.yml`, 'utf8'), { merge: true }) as {
  services: Record<string, { command: string[]; healthcheck?: { test: string[] } }>;
};
const folder = (): string => mkdtempSync(join(tmpdir(), 'nusec-deploy-'));

function makeSecrets(): string {
  const dir = join(folder(), 'secrets');
  execFileSync('sh', [`${root}deploy/make-secrets.sh`, dir], { stdio: 'ignore' });
  return dir;
}

describe('deploy/make-secrets.sh', () => {
  it(
    'makes passwords that only their owner reads, and certificates that the CA vouches for, for each node name',
    () => {
      const dir = makeSecrets();
      for (const name of [
        'nusec-passphrase',
        'kurrentdb-admin',
        'kurrentdb-ops',
        'kurrentdb-credentials',
        'db1.key',
        'ca.key',
        'objects-credentials',
        'objects/private.key',
      ])
        expect(statSync(join(dir, name)).mode & 0o777, name).toBe(0o600);
      expect(readFileSync(join(dir, 'kurrentdb-credentials'), 'utf8')).toMatch(/^nusec:[0-9a-f]{64}$/);
      for (const node of ['db1', 'db2', 'db3', 'objects']) {
        const checked = spawnSync('openssl', [
          'verify',
          '-CAfile',
          join(dir, 'ca/ca.crt'),
          '-verify_hostname',
          node,
          join(dir, `${node}.crt`),
        ]);
        expect(checked.status, node).toBe(0);
      }
      const before = readFileSync(join(dir, 'kurrentdb-admin'), 'utf8');
      execFileSync('sh', [`${root}deploy/make-secrets.sh`, dir], { stdio: 'ignore' });
      expect(readFileSync(join(dir, 'kurrentdb-admin'), 'utf8')).toBe(before);
    },
    limitOfProcesses(20),
  );
});

describe('the default profile', () => {
  it(
    'initialises a project under the passphrase of the secret, serves it, and its health check says so',
    async () => {
      const [data, passphraseFile] = [join(folder(), 'data'), join(folder(), 'nusec-passphrase')];
      writeFileSync(passphraseFile, 'c'.repeat(64), { mode: 0o600 });
      const env = {
        NUSEC_PASSPHRASE_FILE: passphraseFile,
        NUSEC_STATE_DIR: folder(),
        NUSEC_HTTPS_PORT: '0',
        NUSEC_MQTT_PORT: '0',
        NUSEC_CRL_PORT: '0',
      };
      const filled = (word: string): string => word.replace(/\$\{[A-Z_]+:-([^}]*)\}/, '$1').replace('/data', data);
      const commandOf = (name: string): string[] => [...(compose.services[name]?.command ?? []).map(filled), '--json'];
      const init = startCommand(commandOf('init'), env);
      expect(await init.ended()).toMatchObject({ status: 0 });
      const server = startCommand(commandOf('server'), env);
      onTestFinished(() => server.kill('SIGKILL'));
      const { crlPort } = await server.ready;
      const [, program = '', ...words] = compose.services.server?.healthcheck?.test ?? [];
      const check = (port: unknown) =>
        spawnSync(
          program,
          words.map(word => word.replace('8080', String(port))),
        ).status;
      expect(check(crlPort)).toBe(0);
      server.kill('SIGTERM');
      expect(await server.ended()).toMatchObject({ status: 0 });
      expect(check(crlPort)).toBe(1);
    },
    limitOfProcesses(6),
  );
});

describe('deploy/databaseUser.mjs', () => {
  const run = async (answers: readonly number[]) => {
    const asked: { path: string | undefined; authorization: string | undefined; body: unknown }[] = [];
    const server = createServer(async (request: IncomingMessage, response) => {
      let body = '';
      for await (const part of request) body += part;
      asked.push({ path: request.url, authorization: request.headers.authorization, body: JSON.parse(body) });
      response.writeHead(answers[asked.length - 1] ?? 500).end();
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await new Promise(resolve => server.once('listening', resolve));
    const dir = folder();
    const [admin, password] = ['a'.repeat(64), 'b'.repeat(64)];
    writeFileSync(join(dir, 'kurrentdb-admin'), admin);
    writeFileSync(join(dir, 'kurrentdb-credentials'), `nusec:${password}`);
    const { port } = server.address() as AddressInfo;
    const child = spawn(process.execPath, [`${root}deploy/databaseUser.mjs`, `http://127.0.0.1:${port}`, dir], { stdio: 'ignore' });
    const status = await new Promise(resolve => child.once('exit', resolve));
    return { status, asked, admin, password };
  };

  it('makes a user without rights of an administrator; one that is there gets the password', async () => {
    const made = await run([201]);
    const authorization = `Basic ${Buffer.from(`admin:${made.admin}`).toString('base64')}`;
    const user = { loginName: 'nusec', fullName: 'NuSEC servers', groups: [], password: made.password };
    expect(made).toMatchObject({ status: 0, asked: [{ path: '/users/', authorization, body: user }] });
    const known = await run([409, 200]);
    expect(known.asked[1]).toMatchObject({ path: '/users/nusec/command/reset-password', body: { newPassword: known.password } });
    expect(known.status).toBe(0);
    expect((await run([401])).status).toBe(1);
  });
});

describe('the units of systemd', () => {
  const units = globSync('deploy/*.{service,timer}', { cwd: root });

  it('start programs of this checkout, have no rights that they do not need, and take their secrets as credentials', () => {
    expect(units).toHaveLength(4);
    for (const file of units.filter(each => each.endsWith('.service'))) {
      const unit = readFileSync(root + file, 'utf8');
      for (const line of ['User=nusec', 'NoNewPrivileges=yes', 'ProtectSystem=strict', 'CapabilityBoundingSet=', 'UMask=0077'])
        expect(unit.split('\n'), file).toContain(line);
      expect(unit, file).toMatch(/^LoadCredential=/m);
      const words = [...(/^ExecStart=.*\/opt\/nusec\/nusec ([a-z ]+)/m.exec(unit)?.[1]?.trim().split(' ') ?? [])];
      const help = spawnSync(process.execPath, [`${root}src/cli/main.ts`, ...words, '--help'], { encoding: 'utf8' });
      expect(help.status, file).toBe(0);
      for (const [option] of unit.match(/^ExecStart=.*$/m)?.[0].matchAll(/--[a-z-]+/g) ?? []) expect(help.stdout, file).toContain(option);
    }
  });
});
