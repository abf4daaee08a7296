import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { startDoubleCluster } from './eventstore/kurrentdb/doubleCluster.ts';
import { startS3Double } from './objects/s3Double.ts';
import { type Command, startCommand } from './support/command.ts';
import { exchange } from './support/http.ts';
import { limitOfProcesses } from './support/limits.ts';

/** What docs/deploy.md has an operator run, outside of containers and units: secrets, the commands of docker-compose.yml, the database user. */

const root = new URL('../', import.meta.url).pathname;
const compose = parse(readFileSync(`${root}docker-compose.yml`, 'utf8'), { merge: true }) as {
  services: Record<string, Service>;
  secrets: Record<string, { file: string }>;
};
type Service = {
  command: string[];
  entrypoint?: string[];
  environment: Record<string, string>;
  healthcheck?: { test: string[] };
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
        'gateway.token',
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
      // The cluster starts before anybody has a token for the gateway; it is written into the file.
      expect(readFileSync(join(dir, 'gateway.token'), 'utf8')).toBe('');
      writeFileSync(join(dir, 'gateway.token'), 'token');
      const before = readFileSync(join(dir, 'kurrentdb-admin'), 'utf8');
      execFileSync('sh', [`${root}deploy/make-secrets.sh`, dir], { stdio: 'ignore' });
      expect(readFileSync(join(dir, 'gateway.token'), 'utf8')).toBe('token');
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

describe('the cluster profile', () => {
  it(
    'has a bucket, a ceremony, a second machine that joins, and two servers of one project, of which one may be killed; on doubles of database and object store',
    async () => {
      const secrets = makeSecrets();
      const secret = (name: string): string => readFileSync(join(secrets, name), 'utf8');
      const tlsOf = (name: string) => ({ key: secret(`${name}.key`), cert: secret(`${name}.crt`) });
      const log = await startDoubleCluster({ tls: tlsOf('db1'), login: secret('kurrentdb-credentials') });
      const objects = await startS3Double({ tls: tlsOf('objects'), accessKey: 'nusec' });
      onTestFinished(async () => void (await Promise.all([log.close(), objects.close()])));
      const places: readonly (readonly [RegExp, string])[] = [
        [/db1:2113,db2:2113,db3:2113/, log.url.replace('kurrentdb://', '')],
        [/objects:9000/, `localhost:${objects.port}`],
        [/\/opt\/nusec\//, root],
        [/\/run\/secrets\/([a-z.-]+)/, join(secrets, '$1')],
        [/0\.0\.0\.0/, '127.0.0.1'],
        [/^nusec\d$/, '127.0.0.1'],
        [/\$\{[A-Z_]+:-([^}]*)\}/, '$1'],
      ];
      const filled = (word: string, data: string): string =>
        places
          .reduce((text, [what, place]) => text.replace(what, place), word.replaceAll('/data', data))
          .replace(`${secrets}/kurrentdb-ca`, join(secrets, 'ca/ca.crt'));
      const machine = () => ({ data: join(folder(), 'data'), state: folder() });
      const envOf = (service: Service, { data, state }: ReturnType<typeof machine>): NodeJS.ProcessEnv => ({
        ...Object.fromEntries(Object.entries(service.environment).map(([name, value]) => [name, filled(value, data)])),
        ...{ NUSEC_STATE_DIR: state, NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0', NUSEC_LINK_PORT: '0' },
      });
      const of = (name: string): Service => compose.services[name] as Service;
      const runOnce = (name: string, at: ReturnType<typeof machine>, ...more: string[]) => {
        const [program = '', ...words] = (of(name).entrypoint ?? []).map(word => filled(word, at.data));
        const env = { ...process.env, ...envOf(of(name), at), PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
        const child = spawn(program, [...words, ...more], { cwd: root, env });
        let text = '';
        for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (text += chunk));
        return new Promise(resolve => child.once('close', status => resolve({ status, text })));
      };
      const command = (name: string, at: ReturnType<typeof machine>): Command => {
        const started = startCommand([...of(name).command.map(word => filled(word, at.data)), '--json'], envOf(of(name), at));
        onTestFinished(() => started.kill('SIGKILL'));
        return started;
      };

      const [one, two] = [machine(), machine()];
      expect(await runOnce('bucket', one, secrets)).toEqual({ status: 0, text: 'objectBucket: nusec was there\n' });
      expect(await command('init-cluster', one).ended()).toMatchObject({ status: 0 });
      for (const time of ['the first', 'another']) expect(await runOnce('join', two), `${time} time`).toMatchObject({ status: 0 });
      const servers = [command('nusec1', one), command('nusec2', two)] as const;
      const [first, second] = [await servers[0].ready, await servers[1].ready];
      const ca = readFileSync(join(one.data, 'root.pem'), 'utf8');
      const headers = {
        Authorization: `Bearer ${readFileSync(join(one.data, 'alice.token'), 'utf8').trim()}`,
        'Content-Type': 'application/json',
      };
      const at = ({ httpsPort }: typeof first, path: string, body?: object) =>
        exchange(`https://localhost:${httpsPort}${path}`, { ca, headers, ...(body && { body: JSON.stringify(body) }) });
      for (const server of [first, second]) expect((await at(server, '/readyz')).status).toBe(200);
      expect((await at(first, '/v1/lines', { line: 'hall-1' })).status).toBe(201);
      expect((await at(second, '/v1/lines')).json).toMatchObject({ lines: [{ line: 'hall-1' }] });
      servers[0].kill('SIGKILL');
      expect((await at(second, '/v1/lines', { line: 'hall-2' })).status).toBe(201);
      servers[1].kill('SIGTERM');
      expect(await servers[1].ended()).toMatchObject({ status: 0 });
    },
    limitOfProcesses(30),
  );
});

/** A double of the users of KurrentDB over HTTP, as UsersController.cs of oss-v24.6.0 has them: POST /users/ answers 201, or 409 for one that is there; the
 *  password of another is reset by an administrator only. */
async function usersDouble(admin: string) {
  const passwords = new Map([['admin', admin]]);
  const groups = new Map<string, unknown>();
  const isRight = (authorization = ''): string | undefined => {
    const [, login = '', password] = /^([^:]*):(.*)$/.exec(Buffer.from(authorization.slice('Basic '.length), 'base64').toString()) ?? [];
    return passwords.get(login) === password ? login : undefined;
  };
  const answer = (path: string, login: string | undefined, body: Record<string, string>): number => {
    const reset = /^\/users\/([^/]+)\/command\/reset-password$/.exec(path)?.[1];
    if (login !== 'admin') return 401;
    if (path === '/users/' && passwords.has(body.loginName ?? '')) return 409;
    if (path === '/users/') {
      passwords.set(body.loginName ?? '', body.password ?? '');
      groups.set(body.loginName ?? '', body.groups);
      return 201;
    }
    if (reset === undefined || !passwords.has(reset)) return 404;
    passwords.set(reset, body.newPassword ?? '');
    return 200;
  };
  const server = createServer(async (request: IncomingMessage, response) => {
    let body = '';
    for await (const part of request) body += part;
    response.writeHead(answer(request.url ?? '', isRight(request.headers.authorization), JSON.parse(body))).end();
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await new Promise(resolve => server.once('listening', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, passwords, groups };
}

describe('deploy/databaseUser.mjs', () => {
  const run = async (url: string, dir: string): Promise<unknown> => {
    const child = spawn(process.execPath, [`${root}deploy/databaseUser.mjs`, url, dir], { stdio: 'ignore' });
    return new Promise(resolve => child.once('exit', resolve));
  };

  it('makes a user without rights of an administrator, and gives it another password when it is run again', async () => {
    const [admin, first, second] = ['a'.repeat(64), 'b'.repeat(64), 'c'.repeat(64)];
    const { url, passwords, groups } = await usersDouble(admin);
    const dir = folder();
    writeFileSync(join(dir, 'kurrentdb-admin'), `${admin}\n`);
    writeFileSync(join(dir, 'kurrentdb-credentials'), `nusec:${first}`);
    expect(await run(url, dir)).toBe(0);
    expect([passwords.get('nusec'), groups.get('nusec')]).toEqual([first, []]);
    writeFileSync(join(dir, 'kurrentdb-credentials'), `nusec:${second}`);
    for (let time = 0; time < 2; time++) expect(await run(url, dir)).toBe(0);
    expect([passwords.get('nusec'), passwords.get('admin')]).toEqual([second, admin]);
    writeFileSync(join(dir, 'kurrentdb-admin'), 'wrong');
    writeFileSync(join(dir, 'kurrentdb-credentials'), `nusec:${first}`);
    expect(await run(url, dir)).toBe(1);
    expect(passwords.get('nusec')).toBe(second);
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

  it('a restart of a server is over when it is ready, however long that takes', () => {
    const unit = readFileSync(`${root}deploy/nusec@.service`, 'utf8').split('\n');
    for (const line of ['Type=notify', 'NotifyAccess=all', 'TimeoutStartSec=infinity']) expect(unit).toContain(line);
  });

  it('read nothing of the folder that only root enters themselves: systemd hands it to them', () => {
    for (const file of globSync('deploy/*.{service,conf}', { cwd: root })) {
      const lines = readFileSync(root + file, 'utf8').split('\n');
      for (const line of lines.filter(each => each.includes('/etc/nusec/') && !each.startsWith('#')))
        expect(line, file).toMatch(/^(LoadCredential=[a-z.-]+:\/etc\/nusec\/|EnvironmentFile=-?\/etc\/nusec\/)/);
    }
  });

  it('HAProxy waits for the server that writes its certificate, gives up never, and has what its configuration names', () => {
    const [ours, theirs, config] = ['nusec-mqtt-proxy.conf', 'nusec-haproxy.conf', 'haproxy.cfg'].map(name =>
      readFileSync(`${root}deploy/${name}`, 'utf8'),
    );
    for (const line of ['After=nusec@1.service', 'Wants=nusec@1.service', 'StartLimitIntervalSec=0'])
      expect(theirs?.split('\n')).toContain(line);
    for (const [, name] of config?.matchAll(/\$\{(\w+)\}/g) ?? []) expect(theirs).toContain(`${name}=`);
    const folderOf = (text = ''): string | undefined => /NUSEC_MQTT_PROXY_FOLDER=(\S+)/.exec(text)?.[1];
    expect(folderOf(theirs)).toBe(folderOf(ours));
    expect(ours).toContain(`RuntimeDirectory=${folderOf(ours)?.replace('/run/', '')}\n`);
  });

  it('get the credentials of database and object store from the drop-in for several machines, under the names that a server reads', () => {
    const dropIn = readFileSync(`${root}deploy/nusec-cluster.conf`, 'utf8');
    const handed = [...dropIn.matchAll(/^LoadCredential=([a-z]+):\/etc\/nusec\/\1$/gm)].map(([, name]) => name);
    const read = [...dropIn.matchAll(/([A-Z_]+)=%d\/([a-z]+)/g)];
    expect(read.map(([, , name]) => name)).toEqual(handed);
    const config = readFileSync(`${root}src/config.ts`, 'utf8');
    for (const [, variable] of read) expect(config).toContain(`'${variable}'`);
  });
});
