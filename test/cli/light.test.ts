import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, it } from 'vitest';

/** A help page starts nothing, so the command of it loads nothing that only its work needs: what it imports by name, as far as that goes, has no
 *  database, no server, no cryptography and no schemas. `import()` inside of an action is for those. */

const root = join(import.meta.dirname, '../..');
const heavy =
  /^(zod|kysely|aedes|mqtt|better-sqlite3|hono|@hono\/|pino|ws|serialport|@opentelemetry\/|@simplewebauthn\/|node:(crypto|net|https?|child_process)$)/;
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const importsOf = (file: string): readonly string[] =>
  [...read(file).matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)';/gms)].flatMap(([, name]) => name ?? []);

/** The way from a file to a heavy package. */
function wayFrom(file: string, seen: Set<string>): readonly string[] | undefined {
  if (seen.has(file)) return undefined;
  seen.add(file);
  for (const name of importsOf(file)) {
    if (heavy.test(name)) return [file, name];
    const way = name.startsWith('.') ? wayFrom(normalize(join(dirname(file), name)), seen) : undefined;
    if (way !== undefined) return [file, ...way];
  }
  return undefined;
}

it('a command loads what its work needs when it works', () => {
  const names = [...read('src/cli/program.ts').matchAll(/import\('\.\/(\w+)\.ts'\)/g)].map(([, name]) => name);
  expect(names.length).toBeGreaterThan(30);
  const ways = ['main', ...names].map(name => wayFrom(`src/cli/${name}.ts`, new Set())?.join(' → ')).filter(way => way !== undefined);
  expect(ways).toEqual([]);
  expect(wayFrom('src/cli/initialise.ts', new Set())?.at(-1)).toBe('zod');
});
