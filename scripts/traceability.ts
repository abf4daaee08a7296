import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Writes docs/traceability.md: which test covers which requirement (R), rule (RULE), invariant (I) and threat (T).
 *  The numbers are read from the test titles; `node scripts/traceability.ts` writes, a test checks that the page is current. */

const root = new URL('..', import.meta.url).pathname;
const page = join(root, 'docs', 'traceability.md');

type Kind = 'R' | 'RULE-' | 'I' | 'T';
const kinds: readonly { readonly kind: Kind; readonly title: string; readonly last: number }[] = [
  { kind: 'R', title: 'Requirements', last: 112 },
  { kind: 'RULE-', title: 'Rules', last: 21 },
  { kind: 'I', title: 'Invariants', last: 19 },
  { kind: 'T', title: 'Threats', last: 35 },
];

const title =
  /\b(?:it|test|describe)(?:\.[a-z]+)?(?:\([^()]*\)|\(\s*\[[\s\S]*?\](?:\s*as const)?,?\s*\))?\(\s*(['"`])((?:\\.|(?!\1)[\s\S])*)\1/g;
const number = /\b(RULE-|[RIT])(\d{1,3})(?:–(RULE-|[RIT])?(\d{1,3}))?\b/g;

function testFiles(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.test.ts'))
    .map(name => join(folder, name))
    .sort();
}

/** `R57` → files whose titles name it. A range `R57–R64` names all of its numbers. */
function coverage(): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const file of testFiles(join(root, 'test'))) {
    for (const [, , words = ''] of readFileSync(file, 'utf8').matchAll(title)) {
      for (const [, kind = '', from = '', , to = from] of words.matchAll(number)) {
        for (let n = Number(from); n <= Number(to); n++) {
          const name = `${kind}${n}`;
          found.set(name, (found.get(name) ?? new Set()).add(relative(root, file)));
        }
      }
    }
  }
  return found;
}

/** @returns the text of docs/traceability.md as it should be */
export function traceabilityPage(): string {
  const found = coverage();
  const sections = kinds.map(({ kind, title: heading, last }) => {
    const numbers = Array.from({ length: last }, (_, i) => `${kind}${i + 1}`);
    const covered = numbers.filter(name => found.has(name));
    const open = numbers.filter(name => !found.has(name));
    const rows = covered.map(name => `| ${name} | ${[...(found.get(name) ?? [])].map(file => `\`${file}\``).join(', ')} |`);
    return [
      `## ${heading}`,
      '',
      `${covered.length} of ${last} have a test.${open.length === 0 ? '' : ` Without one: ${open.join(', ')}.`}`,
      '',
      '| number | tests |',
      '|---|---|',
      ...rows,
      '',
    ].join('\n');
  });
  const head = '# Traceability\n\nWhich test covers which number, read from the test titles by `node scripts/traceability.ts`.\n';
  return `${head}\n${sections.join('\n')}`;
}

if (import.meta.main) writeFileSync(page, traceabilityPage());
