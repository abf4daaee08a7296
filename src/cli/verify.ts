import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { verifyStore } from '../eventstore/verify.ts';
import type { SignedTree } from '../eventstore/verifyTree.ts';
import { verifyEvidence } from '../evidence/verify.ts';
import { readCheckpoint } from '../merkle/checkpoint.ts';
import { parseNote } from '../merkle/note.ts';
import { fromPem } from '../pki/pem.ts';
import { readText } from './client.ts';
import { print, record, styled } from './output.ts';

type Options = { data?: string; trust?: string; json?: boolean };

/** `nusec verify`: the whole event log, offline or beside a running server (T18); or the evidence file of a device, with a root certificate alone. */
export function registerVerify(program: Command): void {
  program
    .command('verify')
    .argument('[file]', 'evidence of a device, as `nusec evidence export` writes it')
    .description('check that nobody changed an event: of the whole log in a data folder, or of one device in an evidence file')
    .option('--data <dir>', 'data folder; the server may be running')
    .option('--trust <root.pem>', 'for an evidence file: the root certificate that you trust')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
The log: hash chains, positions, the tree over all events, and DATA/log.checkpoint; that this is signed by the project is checked by the server when it starts.
Exit status 0 when everything holds, 1 when an event was changed: the first one is named by stream and revision.
An evidence file needs neither server nor data folder: only the root certificate.

Examples:
  $ nusec verify --data /var/lib/nusec
  $ nusec verify device.evidence.json --trust root.pem`,
    )
    .action((file: string | undefined, options: Options) => {
      if (file !== undefined && options.trust !== undefined && options.data === undefined) verifyFile(file, options.trust, options);
      else if (file === undefined && options.trust === undefined && options.data !== undefined) verifyLog(options.data, options);
      else throw new NusecError('BAD_REQUEST', 'give either --data DIR, or FILE and --trust root.pem');
    });
}

function verifyLog(dataDir: string, options: Options): void {
  const file = join(dataDir, 'events.db');
  if (!existsSync(file)) throw new NusecError('NOT_FOUND', `${dataDir} has no event log: is it the data folder of a server?`);
  const verdict = verifyStore(file, newestCheckpoint(join(dataDir, 'log.checkpoint')));
  if (!verdict.ok) {
    const place = placeOf(verdict);
    print(options, verdict, `${styled('red', 'damaged')}: ${place} (${verdict.reason})`);
    throw new NusecError('STORE_DAMAGED', `${place} is not what was stored; everything before it is`);
  }
  print(options, verdict, `${styled('green', 'whole')}: ${verdict.events} events in ${verdict.streams} streams`);
}

function verifyFile(file: string, trust: string, options: Options): void {
  const roots = fromPem('CERTIFICATE', readText(trust, 'root certificate'));
  const proven = verifyEvidence(readText(file, 'evidence file'), roots);
  const { uid, events, related, time, size, blobs, omitted } = proven;
  const newest = events.at(-1);
  const text = record({
    device: uid,
    events: `${events.length}, the newest ${newest?.type} of ${newest?.at}; nothing came later up to ${time}`,
    'of others': `${related.length} that name the device`,
    contents: `${blobs}${omitted.length === 0 ? '' : `, ${omitted.length} named and not in the file`}`,
    log: `${proven.origin}, ${size} events`,
  });
  print(options, proven, `${styled('green', 'proven')}\n${text}`);
}

function newestCheckpoint(file: string): SignedTree | undefined {
  return existsSync(file) ? readCheckpoint(parseNote(readFileSync(file, 'utf8')).text) : undefined;
}

/** As much as is known about the first event that is not as it was. */
function placeOf({ position, stream, revision }: { position: number; stream?: string; revision?: number }): string {
  return stream === undefined ? `position ${position}` : `position ${position}, stream ${stream}, revision ${revision}`;
}
