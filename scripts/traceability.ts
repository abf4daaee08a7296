import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Writes docs/traceability.md: which test shows which requirement (R), rule (RULE), invariant (I) and threat (T).
 *  A number counts where a test says `covers('R57', 'T3')` beside its assertions (`test/support/covers.ts`). Numbers in titles are for the reader:
 *  they stand in a second column until every test has its mark. `node scripts/traceability.ts` writes, a test checks that the page is current. */

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
const title =
  /\b(?:it|test|describe)(?:\.[a-z]+)?(?:\([^()]*\)|\(\s*\[[\s\S]*?\](?:\s*as const)?,?\s*\))?\(\s*(['"`])((?:\\.|(?!\1)[\s\S])*)\1/g;
const named = /\b(?:RULE-|[RIT])\d{1,3}\b/g;

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

/** A range in a title names its ends only. */
const namesIn = (source: string): readonly string[] =>
  [...source.matchAll(title)].flatMap(([, , words = '']) => [...words.matchAll(named)].map(([name]) => name));

function placesOf(numbersIn: (source: string) => readonly string[]): Places {
  const places = new Map<string, Set<string>>();
  const folder = join(root, 'test');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    name => name.endsWith('.ts') && !aboutMarks.includes(name),
  );
  for (const file of files.map(name => join(folder, name)).sort()) {
    for (const number of numbersIn(readFileSync(file, 'utf8'))) {
      places.set(number, (places.get(number) ?? new Set()).add(relative(root, file)));
    }
  }
  return places;
}

/** @returns the text of docs/traceability.md as it should be */
export function traceabilityPage(): string {
  const marked = placesOf(marksIn);
  const titles = placesOf(namesIn);
  const sections = kinds.map(({ kind, heading, last }) => sectionOf(heading, numbersOf(kind, last), marked, titles));
  return `# Traceability\n\nWhich test shows which number: marks \`covers(…)\` beside assertions, collected by \`node scripts/traceability.ts\` (docs/testing.md).
The last column lists tests that name a number only in a title; it does not count.\n\n${sections.join('\n')}`;
}

function sectionOf(heading: string, numbers: readonly string[], marked: Places, titles: Places): string {
  const open = numbers.filter(number => !marked.has(number));
  const rows = numbers.map(number => {
    const own = marked.get(number) ?? new Set();
    const others = [...(titles.get(number) ?? [])].filter(file => !own.has(file));
    return `| ${number} | ${listOf([...own])} | ${listOf(others)} |`;
  });
  const without = open.length === 0 ? '' : ` Without one: ${open.join(', ')}.`;
  const sum = `${numbers.length - open.length} of ${numbers.length} have a mark.${without}`;
  return [`## ${heading}`, '', sum, '', '| number | marked in | title only |', '|---|---|---|', ...rows, ''].join('\n');
}

const listOf = (files: readonly string[]): string => files.map(file => `\`${file}\``).join(', ');

if (import.meta.main) writeFileSync(page, traceabilityPage());
