import type { Command } from 'commander';
import { verifyLog } from './logVerify.ts';

/** `nusec log`: the event log, for auditors. */
export function registerLog(program: Command): void {
  const log = program.command('log').description('the event log: verify, follow, export');
  log
    .command('verify')
    .description('check every event, the tree over them, and every checkpoint that is found; the server may be running')
    .requiredOption('--data <dir>', 'data folder')
    .option('--witness <dir...>', 'folders with checkpoints of this log; NUSEC_WITNESS_DIR, or what nusec.json names, when not given')
    .option(
      '--trust <root.pem>',
      'the root certificate that you trust; DATA/root.pem when not given, which whoever changes the log can change too',
    )
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0 when everything holds, 1 when an event was changed or a checkpoint is not of this log. The first event that does not hold is
named by position, stream and revision; what only a checkpoint shows, by the positions between the last one that holds and the first that does not.

Examples:
  $ nusec log verify --data /var/lib/nusec
  $ nusec log verify --data /var/lib/nusec --witness /mnt/witness --trust root.pem`,
    )
    .action(verifyLog);
}
