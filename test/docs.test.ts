import { globSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { troubleshootingPage } from '../scripts/troubleshooting.ts';
import { programFor } from '../src/cli/program.ts';

/** Pages that have to know what the product knows. */

const root = new URL('..', import.meta.url).pathname;
const sourceOf = (path: string): string => readFileSync(root + path, 'utf8');

it('docs/troubleshooting.md has every error code; `npm run troubleshooting` writes it', () => {
  expect(sourceOf('docs/troubleshooting.md')).toBe(troubleshootingPage());
});

it('docs/runbook.md has every alarm that is raised, and every event that is an alarm in itself', () => {
  const runbook = sourceOf('docs/runbook.md');
  const sources = globSync('src/**/*.ts', { cwd: root }).map(sourceOf);
  const raised = sources.flatMap(source =>
    [...source.matchAll(/(?:raise\(\{\s*code: |raise\(|onAlarm\()'([A-Z][A-Z_]{3,})'/g)].map(([, code = '']) => code),
  );
  const [, table = ''] = /const details: [^\n]* = \{\n(.*?)\n\};/s.exec(sourceOf('src/projections/alarms.ts')) ?? [];
  const events = [...table.matchAll(/^ {2}(\w+): /gm)].map(([, type = '']) => type);
  const [, kinds = ''] = /readonly kind: ((?:'[A-Z_]+'(?: \| )?)+);/.exec(sourceOf('src/gateway/broker/presence.ts')) ?? [];
  raised.push(...kinds.replaceAll("'", '').split(' | '));
  expect(raised.length).toBeGreaterThan(25);
  expect(events.length).toBeGreaterThan(8);
  expect([...new Set([...raised, ...events])].filter(code => !runbook.includes(`\`${code}\``))).toEqual([]);
});

/** What a line of a page calls: the command, and what is left of the line. */
function calledBy(program: Command, words: readonly string[]): { readonly command: Command; readonly rest: readonly string[] } {
  const [first = '', ...rest] = words;
  const next = program.commands.find(one => one.name() === first || one.aliases().includes(first));
  return next === undefined ? { command: program, rest: words } : calledBy(next, rest);
}

function wrongIn(program: Command, text: string): readonly string[] {
  const { command, rest } = calledBy(program, text.trim().split(/\s+/));
  const known = ['--help', '--version', ...[command, program].flatMap(one => one.options.flatMap(({ long }) => long ?? []))];
  const options = rest.filter(word => /^--[a-z]/.test(word)).map(word => word.replace(/[^a-z0-9-].*$/, ''));
  const isNoCommand = command === program || (command.commands.length > 0 && /^[a-z]/.test(rest[0] ?? ''));
  return isNoCommand ? [text] : options.filter(option => !known.includes(option)).map(option => `${option} of ${text}`);
}

it('every command and option that a page names exists', async () => {
  const program = await programFor('*');
  const pages = globSync(['README.md', 'docs/**/*.md'], { cwd: root });
  const named = pages.flatMap(page =>
    [...sourceOf(page).matchAll(/(?:`|\n|\.\/|&& |; )nusec ([a-z][^`\n#|]*)/g)].map(([, text = '']) => [page, text] as const),
  );
  expect(named.length).toBeGreaterThan(300);
  expect(named.flatMap(([page, text]) => wrongIn(program, text).map(wrong => `${page}: ${wrong}`))).toEqual([]);
});
