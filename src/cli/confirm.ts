import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';

/** What cannot be undone is asked for once more: the person types the name of the thing; scripts say --yes. */

export type Confirmation = { readonly yes?: boolean | undefined; readonly dryRun?: boolean | undefined };

export const withConfirmation = (command: Command): Command =>
  command.option('--yes', 'do not ask').option('--dry-run', 'say what would be done, and do nothing');

/** @param what the deed, as a sentence @param name what the person has to type
 *  @returns false when nothing is to be done: a dry run, or another answer
 *  @throws NusecError BAD_REQUEST when nobody can be asked */
export async function confirmed({ yes, dryRun }: Confirmation, what: string, name: string): Promise<boolean> {
  if (dryRun) {
    process.stderr.write(`dry run: ${what}\n`);
    return false;
  }
  if (yes) return true;
  if (!process.stdin.isTTY)
    throw new NusecError('BAD_REQUEST', `${what} This cannot be undone: repeat the command with --yes, or look first with --dry-run`);
  const line = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await line.question(`${what} This cannot be undone. Type ${name} to go on: `);
    if (answer.trim() === name) return true;
    process.stderr.write('nothing was done\n');
    return false;
  } finally {
    line.close();
  }
}
