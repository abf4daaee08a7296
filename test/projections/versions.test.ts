import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { versions } from './versions.ts';

/** A projection whose tables or rows change has to get a higher version, or servers go on with tables of the earlier shape. What decides them is kept as
 *  a hash beside the version (versions.ts). So a raise that was forgotten fails here, and two branches that raise to the same number meet in one
 *  line, as a conflict of git. */

const sources = join(import.meta.dirname, '../../src');

/** The declarations of a file that run, without comments and white space, by name. */
function declarationsOf(file: string): Map<string, string> {
  const text = readFileSync(join(sources, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
  const parts = text.split(/^(?=(?:export )?(?:const|function|async function|type|import|class) )/m);
  const named = parts.flatMap(part => {
    const name = part.match(/^(?:export )?(?:const|function) (\w+)/)?.[1];
    return name === undefined ? [] : ([[name, part.replace(/\s+/g, ' ').trim()]] as const);
  });
  return new Map(named);
}

/** @param what `file` for all of a file but its queries, `file name` for one declaration */
function sourceOf(what: string): string {
  const [file, name] = what.split(' ') as [string, string | undefined];
  const declarations = declarationsOf(file);
  if (name === undefined)
    return [...declarations]
      .filter(([each]) => !each.endsWith('Queries'))
      .map(([, text]) => text)
      .join('\n');
  const found = declarations.get(name);
  if (found === undefined) throw new Error(`${file} declares no ${name}: mend versions.ts`);
  return found;
}

const projectionFiles = Object.keys(versions);
const versionIn = (source: string): number => Number(source.match(/: Projection = \{ name: '\w+', version: (\d+),/)?.[1]);

describe('the version of a read model', () => {
  it.each(projectionFiles)('%s is raised with its tables and with what is written into them', file => {
    const { decidedBy, version, sha256 } = versions[file] as (typeof versions)[string];
    const source = [file, ...decidedBy].map(sourceOf).join('\n');
    const now = { version: versionIn(source), sha256: hash('sha256', source.replace(/version: \d+,/, '')).slice(0, 16) };
    expect(
      now,
      `what ${file} writes has changed: raise its version, and put version and hash into test/projections/versions.ts. Where rows stay what they were, the hash alone`,
    ).toEqual({ version, sha256 });
  });

  it('is kept for every read model', () => {
    const listed = [...readFileSync(join(sources, 'projections/readModels.ts'), 'utf8').matchAll(/\} from '\.\/(\w+)\.ts'/g)].map(
      ([, name]) => name,
    );
    const withTables = listed.filter(name =>
      /^export const \w+: Projection = \{/m.test(readFileSync(join(sources, `projections/${name}.ts`), 'utf8')),
    );
    expect(projectionFiles.map(file => file.match(/(\w+)\.ts$/)?.[1]).sort()).toEqual(withTables.sort());
  });
});
