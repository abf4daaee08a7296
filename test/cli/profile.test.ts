import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { processMs } from '../support/limits.ts';

/** Profiles and completion, as a person meets them: as processes. */

const main = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const file = join(mkdtempSync(join(tmpdir(), 'nusec-profile-')), 'profiles.json');
const nusec = (...args: readonly string[]) =>
  spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    timeout: processMs,
    env: { ...process.env, NUSEC_PROFILES: file, NUSEC_SERVER: undefined },
  });

describe('nusec profile', () => {
  it('is used from then on by every command that talks to a server, and holds no token', () => {
    expect(nusec('profile', 'set', 'hall', '--server', 'https://hall.example:8443', '--token-file', 'alice.token').status).toBe(0);
    expect(statSync(file).mode & 0o077).toBe(0);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
      current: 'hall',
      profiles: { hall: { server: 'https://hall.example:8443' } },
    });
    expect(nusec('device', 'list', '--help').stdout).toContain('https://hall.example:8443');
    const { stderr, status } = nusec('profile', 'use', 'nowhere', '--json');
    expect([status, stderr]).toEqual([2, expect.stringContaining('--json')]);
    expect(nusec('profile', 'use', 'nowhere').stderr).toContain('NOT_FOUND');
    expect(nusec('profile', 'remove', 'nowhere').stderr).toContain('NOT_FOUND');
  });

  it('is not the one that was chosen last when the environment names one that is not there', () => {
    const { status, stderr } = spawnSync(process.execPath, [main, 'device', 'list', '-o', 'json'], {
      encoding: 'utf8',
      timeout: processMs,
      env: { ...process.env, NUSEC_PROFILES: file, NUSEC_PROFILE: 'nowhere' },
    });
    expect([status, JSON.parse(stderr)]).toEqual([1, { error: 'NOT_FOUND', detail: expect.stringContaining('nowhere') }]);
  });
});

describe('a wrong call', () => {
  it('is said in words when a command itself finds it', () => {
    const { status, stderr } = nusec('webhook', 'add', 'mes', 'http://mes.example.com');
    expect([status, stderr]).toEqual([2, expect.stringContaining('begins with https://')]);
  });

  it('is no name that nobody could be asked for by', () => {
    const { status, stderr } = nusec('init', '--data', 'nowhere', '--administrator', 'A B');
    expect([status, stderr]).toEqual([2, expect.stringContaining('A name is 1 to 64 of')]);
  });

  it('is a command that there is none of, also when help is asked for', () => {
    const { status, stderr } = nusec('bogus', '--help');
    expect([status, stderr]).toEqual([2, expect.stringContaining("unknown command 'bogus'")]);
  });

  it('finds the help of a command in both ways', () => {
    expect(nusec('help', 'device').stdout).toBe(nusec('device', '--help').stdout);
    expect(nusec('help', 'device').stdout).toContain('quarantine');
  });
});

it.each(['bash', 'zsh', 'fish'])('nusec completion knows the commands there are, for %s', shell => {
  const { stdout, status } = nusec('completion', shell);
  expect(nusec('completion', '--shell', shell).stdout).toBe(stdout);
  expect(status).toBe(0);
  for (const word of ['device', 'acknowledge', 'reconciliation']) expect(stdout).toContain(word);
});
