import { closeSync, createReadStream, existsSync, openSync, readSync } from 'node:fs';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { exportFormat, maxExportLineBytes } from '../evidence/logExport.ts';
import { verifyEvidence } from '../evidence/verify.ts';
import { readWitnessKey } from '../merkle/cosignature.ts';
import { fromPem } from '../pki/pem.ts';
import { type ProvenExport, verifyExport } from '../services/proof/exportCheck.ts';
import { readText } from './client.ts';
import { type LogOptions, verifyLog } from './logVerify.ts';
import { print, record, styled } from './output.ts';

type Options = { data?: string; trust?: string; witnessKey?: string[]; json?: boolean };

/** `nusec verify`: the whole event log, offline or beside a running server (T18); or the evidence file of a device, or an exported log, with a root
 *  certificate alone. */
export function registerVerify(program: Command): void {
  program
    .command('verify')
    .argument('[file]', 'evidence of a device (`nusec evidence export`), or an exported log (`nusec log export`)')
    .description(
      'check that nobody changed an event: of the whole log in a data folder, of one device in an evidence file, of an exported log',
    )
    .option('--data <dir>', 'data folder; the server may be running: the same as `nusec log verify --data DIR`')
    .option('--trust <root.pem>', 'the root certificate that you trust')
    .option('--witness-key <keys...>', 'keys of witnesses: each must have signed a log that has the newest event of the device')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0 when everything holds, 1 when an event was changed: the first one is named by stream and revision.
A file needs neither server nor data folder: only the root certificate.

Examples:
  $ nusec verify --data /var/lib/nusec
  $ nusec verify device.evidence.json --trust root.pem
  $ nusec verify log.jsonl --trust root.pem`,
    )
    .action(async (file: string | undefined, { data, ...options }: Options) => {
      if (file === undefined && data !== undefined) verifyLog({ ...options, data } satisfies LogOptions);
      else if (file !== undefined && options.trust !== undefined && data === undefined) await verifyFile(file, options.trust, options);
      else throw new NusecError('BAD_REQUEST', 'give either --data DIR, or FILE and --trust root.pem');
    });
}

async function verifyFile(file: string, trust: string, options: Options): Promise<void> {
  const roots = fromPem('CERTIFICATE', readText(trust, 'root certificate'));
  if (isExport(file)) verifyExported(await verifyExport(linesOf(file), roots), options);
  else verifyEvidenceFile(file, roots, options);
}

/** The first line says so. */
function isExport(file: string): boolean {
  if (!existsSync(file)) throw new NusecError('NOT_FOUND', `${file} does not exist`);
  const begin = Buffer.alloc(64);
  const opened = openSync(file, 'r');
  try {
    return begin.toString('latin1', 0, readSync(opened, begin)).startsWith(`{"format":"${exportFormat}"`);
  } finally {
    closeSync(opened);
  }
}

/** @throws NusecError EVIDENCE_MALFORMED when a line is too long */
async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of createReadStream(file, 'utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxExportLineBytes) throw new NusecError('EVIDENCE_MALFORMED', `a line is longer than ${maxExportLineBytes} bytes`);
    yield* lines;
  }
  if (rest !== '') yield rest;
}

function verifyExported(proven: ProvenExport, options: Options): void {
  const { events, after, size, time, filter, origin } = proven;
  const scope =
    filter === undefined
      ? `every event from position ${after + 1} to ${size}`
      : 'each is in the log; that no other fits the filter is not shown';
  const text = record({ events: `${events}: ${scope}`, ...(filter && { filter }), log: `${origin}, ${size} events, signed ${time}` });
  print(options, proven, `${styled('green', 'proven')}\n${text}`);
}

function verifyEvidenceFile(file: string, roots: readonly Uint8Array[], options: Options): void {
  const keys = (options.witnessKey ?? []).map(readWitnessKey);
  const proven = verifyEvidence(readText(file, 'evidence file'), roots, keys);
  const { uid, events, related, time, size, blobs, omitted } = proven;
  const newest = events.at(-1);
  const text = record({
    device: uid,
    events: `${events.length}, the newest ${newest?.type} of ${newest?.at}; nothing came later up to ${time}`,
    'of others': `${related.length} that name the device`,
    contents: `${blobs}${omitted.length === 0 ? '' : `, ${omitted.length} named and not in the file`}`,
    log: `${proven.origin}, ${size} events`,
    ...(keys.length > 0 && { witnesses: proven.witnesses.map(({ name, time }) => `${name} at ${time}`).join(', ') }),
  });
  print(options, proven, `${styled('green', 'proven')}\n${text}`);
}
