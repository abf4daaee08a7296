import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import type { LogOptions } from './logVerify.ts';
import type { VerifyOptions } from './verifyFile.ts';

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
    .action(async (file: string | undefined, { data, ...options }: VerifyOptions) => {
      if (file === undefined && data !== undefined)
        await (await import('./logVerify.ts')).verifyLog({ ...options, data } satisfies LogOptions);
      else if (file !== undefined && options.trust !== undefined && data === undefined)
        await (await import('./verifyFile.ts')).verifyFile(file, options.trust, options);
      else throw new NusecError('BAD_REQUEST', 'give either --data DIR, or FILE and --trust root.pem');
    });
}
