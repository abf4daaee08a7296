import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { limitOfProcesses } from '../support/limits.ts';

/** `nusec` as it is started: from a checkout, by whatever Node the system has, and from a package that npm made. */

const root = join(import.meta.dirname, '../..');
const run = (program: string, args: readonly string[], options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {}) =>
  spawnSync(program, args, { cwd: root, ...options, encoding: 'utf8' });
/** The Node of the system, which may be older than the one npm installed. */
const systemNode = ['/usr/bin/node', '/usr/local/bin/node'].find(file => existsSync(file)) ?? process.execPath;

/** Packing compiles into `dist`: in a copy, so that two runs of the tests do not compile into each other's. */
function copyOfCheckout(): string {
  const copy = mkdtempSync(join(tmpdir(), 'nusec-checkout-'));
  const parts = ['bin', 'gateway-device', 'scripts', 'src', 'web', 'LICENSE', 'README.md', 'package.json'];
  for (const part of [...parts, 'tsconfig.json', 'tsconfig.build.json']) cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

describe('the launcher', () => {
  it('finds a Node that runs the product, and prints nothing but what the command prints', () => {
    const { stdout, stderr, status } = run(systemNode, ['bin/nusec.mjs', 'verify', '--data', '/nowhere', '--json']);
    expect(status).toBe(1);
    expect(stdout).toBe('');
    expect(JSON.parse(stderr)).toMatchObject({ error: 'NOT_FOUND' });
  });

  it('works through a link from another folder', () => {
    const folder = mkdtempSync(join(tmpdir(), 'nusec-launcher-'));
    symlinkSync(join(root, 'nusec'), join(folder, 'nusec'));
    const { stdout, status } = run('sh', ['-c', 'nusec --version'], { env: { ...process.env, PATH: `${folder}:${process.env.PATH}` } });
    expect([status, stdout.trim()]).toEqual([0, JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version]);
  });
});

describe('the package', () => {
  it('runs where it is installed, compiled, with its pages', { timeout: limitOfProcesses(6) }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'nusec-package-'));
    const packed = run('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: copyOfCheckout() });
    expect(packed.status, packed.stderr).toBe(0);
    expect(run('tar', ['-xzf', join(folder, packed.stdout.trim().split('\n').at(-1) ?? ''), '-C', folder]).status).toBe(0);
    symlinkSync(join(root, 'node_modules'), join(folder, 'package/node_modules'));
    expect(existsSync(join(folder, 'package/src'))).toBe(false);
    expect(existsSync(join(folder, 'package/dist/web/console.css'))).toBe(true);
    const data = join(folder, 'data');
    const made = run(systemNode, [join(folder, 'package/bin/nusec.mjs'), 'init', '--data', data, '--json']);
    expect(made.status, made.stderr).toBe(0);
    expect(JSON.parse(made.stdout)).toMatchObject({ rootFile: join(data, 'root.pem') });
  });
});
