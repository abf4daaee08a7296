import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { verifyStore } from '../eventstore/verify.ts';
import { print, styled } from './output.ts';

type Options = { data: string; json?: boolean };

/** `nusec verify`: the whole event log against its hash chains, offline or beside a running server (T18). */
export function registerVerify(program: Command): void {
  program
    .command('verify')
    .description('check that nobody changed an event: every stream’s hash chain, every position')
    .requiredOption('--data <dir>', 'data folder; the server may be running')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0 when the log is whole, 1 when an event was changed: the first one is named by stream and revision.

Example:
  $ nusec verify --data /var/lib/nusec`,
    )
    .action((options: Options) => {
      const file = join(options.data, 'events.db');
      if (!existsSync(file)) throw new NusecError('NOT_FOUND', `${options.data} has no event log: is it the data folder of a server?`);
      const verdict = verifyStore(file);
      if (!verdict.ok) {
        print(options, verdict, `${styled('red', 'damaged')}: stream ${verdict.stream}, revision ${verdict.revision} (${verdict.reason})`);
        throw new NusecError('STORE_DAMAGED', `stream ${verdict.stream} is not what was stored, from revision ${verdict.revision} on`);
      }
      print(options, verdict, `${styled('green', 'whole')}: ${verdict.events} events in ${verdict.streams} streams`);
    });
}
