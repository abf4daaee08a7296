import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { ask, type ServerOptions, subcommandsOf, withServer } from './client.ts';
import type { ExportOptions } from './logExport.ts';
import type { MoveOptions } from './logMove.ts';
import { type TailOptions, tailLog } from './logTail.ts';
import type { LogOptions } from './logVerify.ts';
import { print, record } from './output.ts';
import { registerParkedEvents } from './parkedEvents.ts';

/** `nusec log`: the event log, for auditors. */
export function registerLog(program: Command): void {
  const log = program.command('log').description('the event log: verify, follow, export, move');
  log
    .command('verify')
    .description('check every event, the tree over them, every checkpoint that is found, blobs and boot keys; the server may be running')
    .requiredOption('--data <dir>', 'data folder')
    .option('--witness <dir...>', 'folders with checkpoints of this log; NUSEC_WITNESS_DIR, or what nusec.json names, when not given')
    .option(
      '--trust <root.pem>',
      'the root certificate that you trust; default: DATA/root.pem, which a person who changes the log can change too',
    )
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0 when everything holds, 1 when an event was changed, a checkpoint is not of this log, a folder of --witness has none, or a blob, a boot key or a database beside the log is damaged. The first event that does not hold is
named by position, stream and revision; what only a checkpoint shows, by the positions between the last one that holds and the first that does not.

Examples:
  $ nusec log verify --data /var/lib/nusec
  $ nusec log verify --data /var/lib/nusec --witness /mnt/witness --trust root.pem`,
    )
    .action(async (options: LogOptions) => (await import('./logVerify.ts')).verifyLog(options));

  log
    .command('move')
    .description(
      'move the log of this machine into KurrentDB, or out of it, while no server runs; every event keeps its place and its proofs',
    )
    .requiredOption('--data <dir>', 'data folder')
    .option('--event-store <url>', 'KurrentDB that gets the log (KURRENTDB_URL)')
    .option('--object-store <url>', 'object store that gets keyset, boot keys, people and blobs, for several machines (NUSEC_OBJECT_STORE)')
    .option('--out', 'the other way: the copy on this machine becomes the log, and no other server adds to it')
    .option('--database-lost', 'with --out: KurrentDB is gone; the copy is taken as it is, and no other machine is told')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Interrupted, it goes on where it was when it is called again. Make a backup first.

Examples:
  $ nusec log move --data /var/lib/nusec --event-store kurrentdb://db.example.com:2113
  $ nusec log move --data /var/lib/nusec --event-store kurrentdb://db.example.com:2113 --object-store 's3://nusec/oem?endpoint=https://s3.example.com'
  $ KURRENTDB_URL=kurrentdb://localhost:2113 nusec log move --data ./data --json
  $ nusec log move --data /var/lib/nusec --event-store kurrentdb://db.example.com:2113 --out`,
    )
    .action(async (options: MoveOptions) => (await import('./logMove.ts')).moveLogHere(options));

  const subcommand = subcommandsOf(log);
  const filtered = (command: Command): Command =>
    command
      .option('--type <types...>', 'only these types of event')
      .option('--stream <streams...>', 'only these streams; a name that ends with * stands for all that begin so')
      .option('--by <names...>', 'only what these did, such as operator:alice');
  filtered(
    subcommand(
      'tail',
      'print the newest events, and with --follow those that come',
      'tail --lines 50',
      'tail --follow --type DeviceMinted CertificateRevoked',
      "tail --follow --json --by 'operator:*' | jq .data",
    ),
  )
    .option('-n, --lines <count>', 'how many of the newest ones', count, 20)
    .option('-f, --follow', 'go on until it is interrupted')
    .action((options: TailOptions) => tailLog(options));
  filtered(
    subcommand(
      'export',
      'write events as JSON lines with proofs and a checkpoint; `nusec verify FILE --trust root.pem` checks the file anywhere',
      'export --out log.jsonl',
      'export --out later.jsonl --after 120000',
      'export --out alice.jsonl --by operator:alice',
    ),
  )
    .requiredOption('--out <file>', 'where to')
    .option('--after <position>', 'only events behind this one', count, 0)
    .action((options: ExportOptions) => import('./logExport.ts').then(({ exportLog }) => exportLog(options)));
  subcommand('checkpoint', 'sign a checkpoint over everything that is stored now, and print it', 'checkpoint', 'checkpoint --json').action(
    async (options: ServerOptions) => {
      const note = new TextDecoder().decode(await withServer(options, server => server.bytes('GET', '/v1/log/checkpoint')));
      process.stdout.write(options.json ? `${JSON.stringify({ checkpoint: note })}\n` : note);
    },
  );
  registerParkedEvents(log);
  subcommand('key', 'print the name and the key of the log, for the operators of witnesses', 'key', 'key --json').action(
    async (options: ServerOptions) => {
      const key = await ask<{ origin: string; verifierKey: string }>(options, 'GET', '/v1/log/key');
      print(options, key, record({ origin: key.origin, 'verifier key': key.verifierKey }));
    },
  );
}

function count(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new NusecError('BAD_REQUEST', `${text} is not a number of events`);
  return Number(text);
}
