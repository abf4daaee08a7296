import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, it } from 'vitest';

/** A help page starts nothing, so the command of it loads nothing that only its work needs: what it imports by name, as far as that goes, has no
 *  database, no server and no schemas. `import()` inside of an action is for those. */

const root = join(import.meta.dirname, '../..');
const heavy = /^(zod|kysely|aedes|mqtt|better-sqlite3|hono|@hono\/|pino|ws|serialport|@opentelemetry\/|@simplewebauthn\/)/;
/** Loaded by `import()` alone. */
const actions = [
  'caOffline',
  'initialise',
  'knownBundles',
  'logExport',
  'logMove',
  'logVerify',
  'produceUnits',
  'spdmRequester',
  'spdmResponder',
  'verifyFile',
];
/** Files of a manufacturer and of an auditor are parsed with zod. */
const known = ['station', 'stationLine'];

const importsOf = (file: string): readonly string[] =>
  [...readFileSync(join(root, file), 'utf8').matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)';/gms)].flatMap(
    ([, name]) => name ?? [],
  );

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
  const files = readdirSync(join(root, 'src/cli')).filter(file => file.endsWith('.ts'));
  const names = files.map(file => file.replace(/\.ts$/, ''));
  const looked = names.filter(name => ![...actions, ...known].includes(name));
  const ways = looked.map(name => wayFrom(`src/cli/${name}.ts`, new Set())?.join(' → ')).filter(way => way !== undefined);
  expect(ways).toEqual([]);
  expect(wayFrom('src/cli/initialise.ts', new Set())?.at(-1)).toBe('zod');
});
