import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { marksIn, traceabilityPage, unmarked } from '../scripts/traceability.ts';
import { covers } from './support/covers.ts';

/** Numbers that nothing shows yet, with the reason. What is built later leaves this list with its test. */
const toCome: Readonly<Record<string, string>> = {};

describe('docs/traceability.md', () => {
  it('has a mark for every requirement, rule, invariant and threat, but for those that are still to come', () => {
    expect(unmarked()).toEqual(Object.keys(toCome));
  });

  it('says what the marks say; `npm run traceability` writes it', () => {
    const page = readFileSync(new URL('../docs/traceability.md', import.meta.url), 'utf8');
    expect(page).toBe(traceabilityPage());
  });

  it('takes numbers one by one from marks, over several lines too, and none from comments', () => {
    const call = `${'covers'}(\n    'R57',\n    'RULE-4',\n  );`;
    expect(marksIn(`it('x', () => {\n  ${call}\n  // ${call.replaceAll('\n', ' ')}\n});`)).toEqual(['R57', 'RULE-4']);
  });

  it.each(["'R57–R64'", "'R57-R64'", "'R0'", "'R113'", "'RULE-22'", "'57'", 'name', "...['R1']", "'R1', name", ''])(
    'refuses %s',
    inside => {
      expect(() => marksIn(`${'covers'}(${inside})`)).toThrow();
    },
  );
});

describe('test/attacks', () => {
  const folder = new URL('attacks/', import.meta.url);
  const files = readdirSync(folder);

  it.each(files)('%s: each test names the threat', file => {
    expect(unnamed(readFileSync(new URL(file, folder), 'utf8'))).toEqual([]);
  });

  it('finds a test that names none, also inside of a group and with a table', () => {
    const source = (...lines: readonly string[]): string => lines.join('\n');
    expect(unnamed(source("describe('a (T1)', () => {", "  it('b', () => {", '});', "it('c (I4)', () => {"))).toEqual(['c (I4)']);
    expect(unnamed(source('it.each([', "  ['x', (y)],", "] as const)('d %s', async () => {", "it('e (T20, I2)', () => {"))).toEqual([
      'd %s',
    ]);
  });
});

describe('a mark', () => {
  const outside = (): void => covers('R57');
  const refusal = refusalOf(outside);

  it('outside a test is an error', () => {
    expect(refusal).toBe('covers(R57) stands in no test');
    expect(refusalOf(outside)).toBeUndefined();
  });
});

function refusalOf(work: () => void): string | undefined {
  try {
    return void work();
  } catch (error) {
    return (error as Error).message;
  }
}

/** Titles of the tests of a file that name no threat, nor does a group around them. */
function unnamed(source: string): readonly string[] {
  const named = /\bT[1-9]\d?\b/;
  const groups: { readonly indent: number; readonly title: string }[] = [];
  const missing: string[] = [];
  for (const [, space = '', kind, , title = ''] of source.matchAll(/^( *)(describe|it)(?:\.each\([\s\S]*?\))?\(\s*(['`])(.*?)\3,/gm)) {
    while ((groups.at(-1)?.indent ?? -1) >= space.length) groups.pop();
    if (kind === 'describe') groups.push({ indent: space.length, title });
    else if (![...groups, { title }].some(each => named.test(each.title))) missing.push(title);
  }
  return missing;
}
