import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const files = globSync('{src,gateway-device,scripts,bench,test}/**/*.ts', { cwd: root }).filter(file => !file.startsWith('test/output'));

const sourceOf = (file: string): string => readFileSync(join(root, file), 'utf8');

describe('the head of a file', () => {
  const headFirst = /^(?:#!.*\n)?(?:\/\*\*[\s\S]*?\*\/|(?:\/\/.*\n?)+)\n+import\b/;
  const oneImport = /^import\b[^;]*?;.*\n/;

  it('follows its imports, so that every file begins in the same way', () => {
    expect(files.filter(file => headFirst.test(sourceOf(file)))).toEqual([]);
  });

  it('comes after all of them: imports stand together, with nothing in between', () => {
    expect(files.filter(file => isSplit(sourceOf(file)))).toEqual([]);
    expect(isSplit("import 'a';\n\n/** Head. */\n\nimport 'b';\n")).toBe(true);
  });

  /** Texts of programs in tests have imports of their own: they are in template literals. */
  function isSplit(source: string): boolean {
    let rest = source.replace(/^#!.*\n/, '').replace(/`[^`]*`/g, '``');
    while (oneImport.test(rest)) rest = rest.replace(oneImport, '');
    return /^import\b/m.test(rest);
  }
});

it('seconds have the type that says so', () => {
  const untyped = /\b\w*[sS]econds\??: (?:\(\) => )?number\b/;
  expect(files.filter(file => /^(?:src|gateway-device)\//.test(file) && untyped.test(sourceOf(file)))).toEqual([]);
});

it('a module that is started as a worker or process is found in compiled files too (moduleBeside)', () => {
  const bySource = /new URL\((['"`])[^'"`]*\.ts\1, import\.meta\.url\)/;
  expect(files.filter(file => /^(?:src|gateway-device)\//.test(file) && bySource.test(sourceOf(file)))).toEqual([]);
});

it('limits of tests come from one place, so that none is too short for a busy machine', () => {
  const tests = files.filter(file => file.endsWith('.test.ts'));
  const ownLimit =
    /^ *\}, [\d_]{5,}\);|^ *\},\n *[\d_]{5,},\n|, \{ timeout: [\d_]+ \}, (?:async )?(?:\(|\w+ =>)|\(\{ timeout: [\d_]+|poll\([^\n]*timeout: \d/m;
  expect(tests.filter(file => ownLimit.test(sourceOf(file)))).toEqual([]);
});

it('toMatchObject gets no bare pattern: it would fit every text', () => {
  const barePattern = /\btoMatchObject\(\{[^}]*: \/[^/*]/;
  expect(files.filter(file => file.endsWith('.test.ts') && barePattern.test(sourceOf(file)))).toEqual([]);
  expect(barePattern.test(`${'toMatchObject'}({\n  message: /x/,`)).toBe(true);
});

describe('the pages of docs', () => {
  const pages = [...globSync('docs/**/*.md', { cwd: root }), 'README.md'];

  it('number each decision once', () => {
    const numbers = pages.filter(page => page.startsWith('docs/decisions/')).map(page => basename(page).split('-')[0]);
    expect(numbers.length).toBeGreaterThan(18);
    expect(numbers.filter((number, index) => numbers.indexOf(number) !== index)).toEqual([]);
  });

  it('link only to files that are there', () => {
    const links = pages.flatMap(page =>
      [...sourceOf(page).matchAll(/\]\((?!\w+:)([^)#\s]+)/g)].map(([, target = '']) => ({ page, target })),
    );
    expect(links.length).toBeGreaterThan(50);
    expect(links.filter(({ page, target }) => !existsSync(join(root, dirname(page), target)))).toEqual([]);
  });
});
