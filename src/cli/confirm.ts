import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { ask, type ServerOptions } from './client.ts';
import { print } from './output.ts';

/** What cannot be undone is asked for once more: the person types the name of the thing; scripts say --yes. With --dry-run the server judges the deed
 *  and does nothing. */

export type Confirmation = { readonly yes?: boolean | undefined; readonly dryRun?: boolean | undefined };
export type Confirmed = ServerOptions & Confirmation;

/** A request that cannot be undone. */
export type Deed = {
  /** The deed, as a sentence. */
  readonly what: string;
  /** What the person has to type. */
  readonly name: string;
  readonly method: 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object;
};

export const withConfirmation = (command: Command): Command =>
  command.option('--yes', 'do not ask').option('--dry-run', 'say what would be done, or why it would be refused, and do nothing');

/** Sends a request that cannot be undone, and shows the answer; nothing is sent when the person answers otherwise.
 *  @throws NusecError BAD_REQUEST when nobody can be asked, and what the server refuses, in a dry run too */
export async function act<Answer>(options: Confirmed, deed: Deed, show: (answer: Answer) => void | Promise<void>): Promise<void> {
  const { what, name, method, path, body } = deed;
  if (options.dryRun) {
    const { events } = await ask<DryRun>(options, method, `${path}?dryRun=true`, body);
    return printDryRun(
      options,
      what,
      events.map(({ type, stream }) => `${type} in ${stream}`),
      { events },
    );
  }
  if (await confirmed(options, what, name)) await show(await ask<Answer>(options, method, path, body));
}

/** As shells report what SIGINT has ended. */
const interrupted = 130;

type DryRun = { readonly events: readonly { readonly stream: string; readonly type: string }[] };

/** @param records what would be recorded first; nothing when it is so already */
export function printDryRun(options: { readonly json?: boolean }, what: string, records: readonly string[], more: object = {}): void {
  const text = records.length === 0 ? 'It is so already: nothing would change.' : `It would be recorded: ${records.join(', ')}.`;
  print(options, { dryRun: true, what, ...more }, `dry run: ${what}\n${text} Nothing was done.`);
}

/** @param what the deed, as a sentence @param name what the person has to type
 *  @returns false when nothing is to be done @throws NusecError BAD_REQUEST when nobody can be asked */
export async function confirmed({ yes }: Confirmation, what: string, name: string): Promise<boolean> {
  if (yes) return true;
  if (!process.stdin.isTTY)
    throw new NusecError(
      'BAD_REQUEST',
      `nothing was done yet. ${what} This cannot be undone: repeat the command with --yes, or look first with --dry-run`,
    );
  const line = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Ctrl-C and the end of the input are answers too.
    const answer = await line.question(`${what} This cannot be undone. Type ${name} to go on: `).catch((error: Error) => error);
    if (typeof answer === 'string' && answer.trim() === name) return true;
    process.stderr.write(`${typeof answer === 'string' ? '' : '\n'}nothing was done\n`);
    process.exitCode = typeof answer !== 'string' && answer.message.includes('Ctrl+C') ? interrupted : 1;
    return false;
  } finally {
    line.close();
  }
}
