import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the source says about its own words: commands, events, and where they are used. */

const root = new URL('..', import.meta.url).pathname;
const filesUnder = (folder: string): readonly string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.ts'))
    .map(name => `${folder}/${name}`);

/** The text of every source file, by its path from the root. */
export const sources: ReadonlyMap<string, string> = new Map(
  ['src', 'gateway-device'].flatMap(filesUnder).map(path => [path, readFileSync(join(root, path), 'utf8')]),
);

const isDomain = (path: string): boolean => path.startsWith('src/domain/');

/** Top-level statements of a file, each from its first line on. */
const statementsOf = (text: string): readonly string[] => text.split(/^(?=(?:export |const |type |function |async ))/m);

const namesIn = (statement: string): readonly string[] =>
  [...statement.matchAll(/(?:type: |Command<\s*|Event<\s*)'([A-Z]\w+)'/g)].flatMap(([, name]) => name ?? []);

const declared = (kind: 'Command' | 'Event'): readonly string[] => {
  const head = new RegExp(`^(?:export )?type \\w*${kind} =`);
  const names = [...sources]
    .filter(([path]) => isDomain(path))
    .flatMap(([, text]) => statementsOf(text))
    .filter(each => head.test(each))
    .flatMap(namesIn);
  return [...new Set(names)].toSorted();
};

export const commands = declared('Command');
export const events = declared('Event');

/** The domain without what only declares types. */
const rules = [...sources]
  .filter(([path]) => isDomain(path))
  .flatMap(([, text]) => statementsOf(text))
  .filter(statement => !/^(?:export )?type /.test(statement))
  .join('');
/** The rest of the product. */
const product = [...sources]
  .filter(([path]) => !isDomain(path))
  .map(([, text]) => text)
  .join('');

/** Whether something outside the domain gives this command. */
export const hasProducer = (command: string): boolean => product.includes(`'${command}'`);

const readings = (event: string): RegExp => new RegExp(`case '${event}'|=== '${event}'|!== '${event}'`, 'g');

/** Whether a decider emits this event (its name stands in the rules otherwise than to be compared with), or code that has no decider. */
export const hasDecider = (event: string): boolean =>
  rules.replaceAll(readings(event), '').includes(`'${event}'`) ||
  new RegExp(`(?:newEvent\\(|append\\(|recordCare\\(\\w+, )'${event}'`).test(product);

/** Whether a fold, a read model or a subscriber knows this event. */
export const hasReader = (event: string): boolean =>
  readings(event).test(rules) || product.includes(`'${event}'`) || new RegExp(`^ +${event}[:(]`, 'm').test(rules + product);

/** Whether the product takes this field out of an object or puts it into one. */
export const isFieldUsed = (field: string): boolean => new RegExp(`[.{,]\\s*${field}\\b`).test(rules + product);

/** Names of the exports that are marked `@toCome`. */
export const markedToCome: readonly string[] = [...sources.values()]
  .flatMap(text => [...text.matchAll(/@toCome \*\/\nexport (?:async )?(?:function|const) (\w+)/g)])
  .flatMap(([, name]) => name ?? [])
  .toSorted();
