import { globSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { troubleshootingPage } from '../scripts/troubleshooting.ts';

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
