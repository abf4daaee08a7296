import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { verifyStore } from '../eventstore/verify.ts';
import type { SignedTree } from '../eventstore/verifyTree.ts';
import { readCheckpoint } from '../merkle/checkpoint.ts';
import { parseNote } from '../merkle/note.ts';
import { print, styled } from './output.ts';

type Options = { data: string; json?: boolean };

/** `nusec verify`: the whole event log against its hash chains, offline or beside a running server (T18). */
export function registerVerify(program: Command): void {
  program
    .command('verify')
    .description('check that nobody changed an event: hash chains, positions, the tree over all events, the newest checkpoint')
    .requiredOption('--data <dir>', 'data folder; the server may be running')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0 when the log is whole, 1 when an event was changed: the first one is named by stream and revision.
The log is held against DATA/log.checkpoint; that it is signed by this project is checked by the server when it starts.

Example:
  $ nusec verify --data /var/lib/nusec`,
    )
    .action((options: Options) => {
      const file = join(options.data, 'events.db');
      if (!existsSync(file)) throw new NusecError('NOT_FOUND', `${options.data} has no event log: is it the data folder of a server?`);
      const verdict = verifyStore(file, newestCheckpoint(join(options.data, 'log.checkpoint')));
      if (!verdict.ok) {
        const place = placeOf(verdict);
        print(options, verdict, `${styled('red', 'damaged')}: ${place} (${verdict.reason})`);
        throw new NusecError('STORE_DAMAGED', `${place} is not what was stored; everything before it is`);
      }
      print(options, verdict, `${styled('green', 'whole')}: ${verdict.events} events in ${verdict.streams} streams`);
    });
}

function newestCheckpoint(file: string): SignedTree | undefined {
  return existsSync(file) ? readCheckpoint(parseNote(readFileSync(file, 'utf8')).text) : undefined;
}

/** As much as is known about the first event that is not as it was. */
function placeOf({ position, stream, revision }: { position: number; stream?: string; revision?: number }): string {
  return stream === undefined ? `position ${position}` : `position ${position}, stream ${stream}, revision ${revision}`;
}
