import type { Command } from 'commander';
import { readSettings } from '../config.ts';
import type { Accepted } from '../services/backup/acceptStore.ts';
import { takeUp } from '../services/backup/takeUp.ts';
import { readText } from './client.ts';
import { print, record } from './output.ts';

type Options = { data: string; tokenFile?: string; secondTokenFile?: string; json?: boolean };

/** `nusec restore`: on the server's own machine, while no server runs. */
export function registerRestore(program: Command): void {
  program
    .command('restore')
    .description('take up a store that was put back: one that lacks what was known needs two administrators, and nothing un-revokes')
    .requiredOption('--data <dir>', 'data folder; no server runs there')
    .option('--token-file <file>', 'token of an administrator, to accept an older store')
    .option('--second-token-file <file>', 'token of another administrator')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Examples:
  $ nusec restore --data /var/lib/nusec
  $ nusec restore --data /var/lib/nusec --token-file alice.token --second-token-file bob.token`,
    )
    .action(async (options: Options) => {
      const accepted = await takeUp(readSettings(options.data), tokensOf(options));
      print(options, accepted, shown(accepted));
    });
}

function tokensOf({ tokenFile, secondTokenFile }: Options): readonly string[] {
  if (tokenFile === undefined && secondTokenFile === undefined) return [];
  return [tokenFile ?? '', secondTokenFile ?? ''].map(file => readText(file, 'token file').trim());
}

const shown = ({ by, events, lack, revokedAgain }: Accepted): string =>
  record({ events, ...(by.length > 0 && { 'accepted by': by.join(' and '), lacks: lack, 'revoked again': revokedAgain }) });
