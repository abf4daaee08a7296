import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parse } from 'yaml';

/** No Docker engine runs here: the files are parsed, and what they run is run outside a container elsewhere in the tests. */

const root = new URL('../', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, root), 'utf8');

type Service = {
  build: string;
  command: string[];
  volumes: string[];
  ports?: string[];
  healthcheck?: { test: string[] };
  read_only?: boolean;
};
const compose = parse(read('docker-compose.yml')) as { services: Record<string, Service>; volumes: Record<string, unknown> };

it('docker-compose.yml runs the server with a volume, a health check and ports on loopback only', () => {
  const { server } = compose.services;
  expect(server?.command.slice(0, 3)).toEqual(['server', '--data', '/data']);
  expect(server?.volumes).toEqual(['nusec-data:/data', 'nusec-state:/state']);
  expect(Object.keys(compose.volumes)).toEqual(['nusec-data', 'nusec-state']);
  expect(server?.healthcheck?.test[0]).toBe('CMD');
  expect(server?.ports).toHaveLength(3);
  for (const port of server?.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:(\d+):\1$/);
  expect(server?.read_only).toBe(true);
});

it('the Dockerfile copies what exists and does not run as root', () => {
  const lines = read('Dockerfile').split('\n');
  const copied = lines.filter(line => line.startsWith('COPY ')).flatMap(line => line.split(' ').slice(1, -1));
  for (const path of copied) expect(existsSync(new URL(path, root)), path).toBe(true);
  expect(lines).toContain('USER nusec');
  expect(lines.indexOf('USER nusec')).toBeLessThan(lines.findIndex(line => line.startsWith('ENTRYPOINT')));
});

it.each(['init', 'server'])('the command of service %s is one that nusec has', name => {
  const command = compose.services[name]?.command ?? [];
  const options = command.filter(word => word.startsWith('--'));
  const help = spawnSync(process.execPath, ['src/cli/main.ts', command[0] ?? '', '--help'], { cwd: root, encoding: 'utf8' });
  expect(help.status).toBe(0);
  for (const option of options) expect(help.stdout).toContain(option);
});
