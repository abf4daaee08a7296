import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { verifyEvidence } from '../evidence/verify.ts';
import { fromPem } from '../pki/pem.ts';
import { readText } from './client.ts';
import { type LogOptions, verifyLog } from './logVerify.ts';
import { print, record, styled } from './output.ts';

type Options = { data?: string; trust?: string; json?: boolean };

/** `nusec verify`: the whole event log, offline or beside a running server (T18); or the evidence file of a device, with a root certificate alone. */
export function registerVerify(program: Command): void {
  program
    .command('verify')
    .argument('[file]', 'evidence of a device, as `nusec evidence export` writes it')
    .description('check that nobody changed an event: of the whole log in a data folder, or of one device in an evidence file')
    .option('--data <dir>', 'data folder; the server may be running: the same as `nusec log verify --data DIR`')
    .option('--trust <root.pem>', 'the root certificate that you trust')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0 when everything holds, 1 when an event was changed: the first one is named by stream and revision.
An evidence file needs neither server nor data folder: only the root certificate.

Examples:
  $ nusec verify --data /var/lib/nusec
  $ nusec verify device.evidence.json --trust root.pem`,
    )
    .action((file: string | undefined, { data, ...options }: Options) => {
      if (file === undefined && data !== undefined) verifyLog({ ...options, data } satisfies LogOptions);
      else if (file !== undefined && options.trust !== undefined && data === undefined) verifyFile(file, options.trust, options);
      else throw new NusecError('BAD_REQUEST', 'give either --data DIR, or FILE and --trust root.pem');
    });
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
