import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Writes docs/traceability.md: which test shows which requirement (R), rule (RULE), invariant (I) and threat (T).
 *  A number counts where a test says `covers('R57', 'T3')` beside its assertions (`test/support/covers.ts`); a title counts for nothing.
 *  `npm run traceability` writes, a test checks that the page is current and that nothing is without a mark. */

const root = new URL('..', import.meta.url).pathname;
const page = join(root, 'docs', 'traceability.md');
/** They speak of marks without being any. */
const aboutMarks = [join('support', 'covers.ts'), 'traceability.test.ts'];

const kinds = [
  { kind: 'R', heading: 'Requirements', last: 112 },
  { kind: 'RULE-', heading: 'Rules', last: 21 },
  { kind: 'I', heading: 'Invariants', last: 19 },
  { kind: 'T', heading: 'Threats', last: 35 },
] as const;
const known: ReadonlySet<string> = new Set(kinds.flatMap(({ kind, last }) => numbersOf(kind, last)));

const mark = /\bcovers\(([^)]*)\)/g;
const literals = /^\s*'[^']*'(?:\s*,\s*'[^']*')*\s*,?\s*$/;
type Places = ReadonlyMap<string, ReadonlySet<string>>;

function numbersOf(kind: string, last: number): readonly string[] {
  return Array.from({ length: last }, (_, index) => `${kind}${index + 1}`);
}

/** Numbers of the marks in one file of tests.
 *  @throws Error for what is no literal, for a range and for a number that nothing has */
export function marksIn(source: string): readonly string[] {
  return [...withoutComments(source).matchAll(mark)].flatMap(([call, inside = '']) => {
    if (!literals.test(inside)) throw new Error(`${call}: a mark takes numbers in quotes and nothing else`);
    const numbers = [...inside.matchAll(/'([^']*)'/g)].map(([, number = '']) => number);
    const wrong = numbers.find(number => !known.has(number));
    if (wrong !== undefined) throw new Error(`${call}: there is no ${wrong}; each number is named by itself, ranges are refused`);
    return numbers;
  });
}

function withoutComments(source: string): string {
  return source.replace(/^\s*(?:\/\/|\/?\*).*$/gm, '');
}

function placesOfMarks(): Places {
  const places = new Map<string, Set<string>>();
  const folder = join(root, 'test');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    name => name.endsWith('.ts') && !aboutMarks.includes(name),
  );
  for (const file of files.map(name => join(folder, name)).sort()) {
    for (const number of marksIn(readFileSync(file, 'utf8'))) {
      places.set(number, (places.get(number) ?? new Set()).add(relative(root, file)));
    }
  }
  return places;
}

/** Numbers that no test has a mark for. */
export function unmarked(): readonly string[] {
  const places = placesOfMarks();
  return [...known].filter(number => !places.has(number));
}

/** @returns the text of docs/traceability.md as it should be */
export function traceabilityPage(): string {
  const places = placesOfMarks();
  const sections = kinds.map(({ kind, heading, last }) => sectionOf(heading, numbersOf(kind, last), places));
  return `# Traceability\n\nWhich test shows which number: marks \`covers(…)\` beside assertions, collected by \`npm run traceability\` (docs/testing.md).

${sections.join('\n')}`;
}

function sectionOf(heading: string, numbers: readonly string[], places: Places): string {
  const open = numbers.filter(number => !places.has(number));
  const rows = numbers.map(number => `| ${number} | ${listOf([...(places.get(number) ?? [])])} |`);
  const without = open.length === 0 ? '' : ` Without one: ${open.join(', ')}.`;
  const sum = `${numbers.length - open.length} of ${numbers.length} have a mark.${without}`;
  return [`## ${heading}`, '', sum, '', '| number | marked in |', '|---|---|', ...rows, ''].join('\n');
}

const listOf = (files: readonly string[]): string => files.map(file => `\`${file}\``).join(', ');

if (import.meta.main) writeFileSync(page, traceabilityPage());
