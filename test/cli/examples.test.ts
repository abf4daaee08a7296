import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { programFor } from '../../src/cli/program.ts';

/** Every example of every help page is a call that the shipped program takes. */

type Example = { readonly page: string; readonly words: readonly string[] };

/** Words of a shell line: quotes and a backslash at the end of a line as a shell takes them; what is piped, redirected or remarked is the shell's. */
function wordsOf(line: string): readonly string[] {
  const words = line.replaceAll(/\\\n\s*/g, ' ').match(/"[^"]*"|'[^']*'|\S+/g) ?? [];
  const end = words.findIndex(word => ['|', '>', '<', '#', '&&'].includes(word));
  return (end < 0 ? words : words.slice(0, end)).map(word => word.replaceAll(/^["']|["']$/g, ''));
}

function helpOf(command: Command): string {
  const parts: string[] = [];
  command.configureOutput({ writeOut: part => void parts.push(part) });
  command.outputHelp();
  return parts.join('');
}

function examplesOf(command: Command, path = ''): readonly Example[] {
  const page = `${path} ${command.name()}`.trim();
  const help = helpOf(command);
  const lines = help.matchAll(/^ {2}\$ (?:[A-Z0-9_]+=\S+ +|\\\n +)*nusec ((?:.*\\\n)*.*)$/gm);
  const own = [...lines].map(([, line = '']) => ({ page, words: wordsOf(line) }));
  return [...own, ...command.commands.flatMap(sub => examplesOf(sub, page))];
}

/** The program with every action replaced by one that says which command was called. */
async function recording(first: string): Promise<{ readonly program: Command; readonly called: string[] }> {
  const program = await programFor(first);
  const called: string[] = [];
  const replace = (command: Command, path: string): void => {
    command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
    if (command.commands.length === 0) command.action(() => void called.push(path));
    for (const sub of command.commands) replace(sub, `${path} ${sub.name()}`.trim());
  };
  replace(program, '');
  return { program, called };
}

const examples = examplesOf(await programFor('*'));

/** Commands in the code blocks of a documentation page. */
const commandsIn = (page: string): readonly string[] =>
  [...readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8').matchAll(/^```\n(.*?)^```$/gms)].flatMap(([, block = '']) =>
    [...block.matchAll(/^(?:[A-Z0-9_]+=\S+ +)*nusec (.+)$/gm)].map(([, line = '']) => line),
  );

const pages = ['backup.md', 'deploy.md', 'integration.md', 'gateway-guide.md', 'kurrentdb.md', 'auditing.md'];

/** Commands in the text of the runbook: whoever reads it in the night types them as they are. */
const ofRunbook = [...readFileSync(new URL('../../docs/runbook.md', import.meta.url), 'utf8').matchAll(/`nusec ([^`]+)`/g)].map(
  ([, line = '']) => [line, 'runbook.md'] as const,
);

const ofPages = pages.flatMap(page => commandsIn(page).map(line => [line, page] as const));
it.each([...ofPages, ...ofRunbook])('nusec %s, as docs/%s has it', async line => {
  const words = wordsOf(line);
  const { program, called } = await recording(words[0] ?? '');
  await program.parseAsync(words, { from: 'user' });
  expect(called).toHaveLength(1);
});

describe('examples of the help pages', () => {
  it('stand on every page of a command that does something', async () => {
    const leaves = (command: Command, path: string): readonly string[] =>
      command.commands.length === 0 ? [path] : command.commands.flatMap(sub => leaves(sub, `${path} ${sub.name()}`));
    const pages = new Set(examples.map(({ page }) => page));
    expect(leaves(await programFor('*'), 'nusec').filter(page => !pages.has(page))).toEqual([]);
  });

  it.each(examples.map(({ page, words }) => [`nusec ${words.join(' ')}`, page, words] as const))('%s', async (_, page, words) => {
    const { program, called } = await recording(words[0] ?? '');
    if (words.includes('--help')) return expect(program.parseAsync(words, { from: 'user' })).rejects.toMatchObject({ exitCode: 0 });
    await program.parseAsync(words, { from: 'user' });
    expect(called, 'the action of one command runs').toHaveLength(1);
    expect(words.join(' ').startsWith(called[0] ?? '-'), `${called[0]} is what ${page} shows`).toBe(true);
  });
});
