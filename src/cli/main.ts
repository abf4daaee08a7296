#!/usr/bin/env node
import { setTimeout as sleep } from 'node:timers/promises';
import { CommanderError, InvalidArgumentError } from 'commander';
import { NusecError } from '../errors.ts';
import { reportError } from './output.ts';
import { endOnSignal, endSoon } from './process.ts';
import { programFor } from './program.ts';
import { addStartOptions } from './startOptions.ts';

/** Runs `nusec`. */

const asJson = / (--json|(-o|--output)[ =]?json)( |$)/.test(` ${process.argv.slice(2).join(' ')}`);
/** Those that take --watch show something that changes; one that sets an exit status has seen the end of it. */
const isWatching = process.argv.includes('--watch') && !process.argv.includes('--help');
const watchMs = 2000;
const clearScreen = '\u001b[H\u001b[2J';

/** `nusec help device` is `nusec device --help`. */
const word = process.argv[process.argv[2] === 'help' ? 3 : 2] ?? '';
const asked = word.startsWith('-') ? '' : word;
const isHelp = process.argv[2] === 'help' || process.argv.includes('--help') || process.argv.includes('-h');

if (asked === 'server' && !isHelp) addStartOptions();
endOnSignal();
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader of a pipe has enough, such as `head`.
  if (error.code === 'EPIPE') process.exit();
  process.exit(reportError(new NusecError('INTERNAL', `the output cannot be written: ${error.message}`), asJson));
});
try {
  do {
    if (isWatching && process.stdout.isTTY) process.stdout.write(clearScreen);
    const program = await programFor(asked, asJson);
    if (isHelp && asked !== '' && !program.commands.some(one => one.name() === asked || one.aliases().includes(asked)))
      program.error(`error: unknown command '${asked}'`, { exitCode: 2 });
    await program.parseAsync();
    if (isWatching && process.exitCode === undefined) await sleep(watchMs);
  } while (isWatching && process.exitCode === undefined);
} catch (error) {
  // What Commander refuses it has said already.
  const isSaid = error instanceof CommanderError && !(error instanceof InvalidArgumentError);
  process.exitCode = isSaid ? error.exitCode && 2 : reportError(error, asJson);
} finally {
  endSoon();
}
