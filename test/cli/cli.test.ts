import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { covers } from '../support/covers.ts';
import { limitOfProcesses, processMs } from '../support/limits.ts';

/** The command line as a person meets it: as a process. */

const main = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const nusec = (...args: readonly string[]) => spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', timeout: processMs });

type HelpPage = { readonly path: readonly string[]; readonly help: string; readonly status: number | null };

/** The help page of every command, found by those of the commands above it. */
function helpPages(path: readonly string[]): readonly HelpPage[] {
  const { stdout: help, status } = nusec(...path, '--help');
  const withoutArguments = help.replace(/^Arguments:\n(?: .*\n)+/m, '');
  const listed = withoutArguments.matchAll(/^ {2}([a-z][a-z-]*)(?:\|[a-z]+)?(?: \[options\])?(?: <.*>)?(?: \[command\])? {2,}\S/gm);
  const names = [...listed].map(([, name = '']) => name).filter(name => name !== 'help');
  return names.length === 0 ? [{ path, help, status }] : names.flatMap(name => helpPages([...path, name]));
}

describe('nusec', () => {
  it(
    'explains every command with examples',
    () => {
      const pages = helpPages([]);
      expect(pages.length).toBeGreaterThan(100);
      for (const { path, help, status } of pages) {
        expect(status, path.join(' ')).toBe(0);
        expect(help, path.join(' ')).toMatch(/Examples?:\n {2}\$ /);
      }
    },
    limitOfProcesses(300),
  );

  it('uses no colours when it is not on a terminal', () => {
    expect(nusec('--help').stdout).not.toContain('\u001b[');
  });

  it('says what is wrong with a call and exits with 2', () => {
    const { stderr, status } = nusec('init');
    expect(status).toBe(2);
    expect(stderr).toContain('--data');
  });
});

describe('nusec init and verify', () => {
  const data = join(mkdtempSync(join(tmpdir(), 'nusec-cli-')), 'data');

  it('makes a project whose secrets only the owner can read (R2)', () => {
    covers('R2');
    const { stdout, status } = nusec('init', '--data', data, '--json');
    expect(status).toBe(0);
    const { rootFile, tokens } = JSON.parse(stdout) as { rootFile: string; tokens: { name: string; tokenFile: string }[] };
    expect(readFileSync(rootFile, 'utf8')).toContain('BEGIN CERTIFICATE');
    expect(tokens.map(({ name }) => name)).toEqual(['alice', 'bob']);
    for (const file of [...tokens.map(({ tokenFile }) => tokenFile), join(data, 'keystore.key'), join(data, 'keyset.bin')])
      expect(statSync(file).mode & 0o077, file).toBe(0);
    expect(stdout).not.toContain(readFileSync(tokens[0]?.tokenFile ?? '', 'utf8'));
  });

  it('does not make a second one', () => {
    const { stderr, status } = nusec('init', '--data', data, '--json');
    expect(status).toBe(1);
    expect(JSON.parse(stderr)).toMatchObject({ error: 'STATE' });
  });

  it('refuses one person as both administrators (I16)', () => {
    covers('I16');
    const other = join(mkdtempSync(join(tmpdir(), 'nusec-cli-')), 'data');
    const { stderr } = nusec('init', '--data', other, '--administrator', 'alice', '--second', 'alice', '--json');
    expect(JSON.parse(stderr)).toMatchObject({ error: 'FOUR_EYES_REQUIRED' });
    // Nothing was begun.
    expect(existsSync(other)).toBe(false);
  });

  it('finds the log whole, and names stream and revision of a changed event (T18)', () => {
    covers('T18');
    expect(JSON.parse(nusec('verify', '--data', data, '--json').stdout)).toMatchObject({ ok: true });
    const db = new Database(join(data, 'events.db'));
    db.exec(`UPDATE events SET body = replace(body, '"administrator"', '"auditor"') WHERE stream = 'operators' AND revision = 1`);
    db.close();
    const { stdout, stderr, status } = nusec('verify', '--data', data, '--json');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, stream: 'operators', revision: 1, reason: 'hash' });
    expect(JSON.parse(stderr)).toMatchObject({ error: 'STORE_DAMAGED' });
  });
});
