import type { Command } from 'commander';
import type { Accepted } from '../services/backup/acceptStore.ts';
import type { Restored } from '../services/backup/restoreBackup.ts';
import { readText } from './client.ts';
import { print, record } from './output.ts';

type Options = { data: string; tokenFile?: string; secondTokenFile?: string; databaseLost?: boolean; json?: boolean };

/** `nusec restore`: on the server's own machine, while no server runs. */
export function registerRestore(program: Command): void {
  program
    .command('restore [from]')
    .description('put a backup into a new data folder, or take up a store that was put back by hand; an older one needs two administrators')
    .requiredOption('--data <dir>', 'data folder; no server runs there')
    .option('--token-file <file>', 'token of an administrator, to accept an older store')
    .option('--second-token-file <file>', 'token of another administrator')
    .option('--database-lost', 'the log of the backup was in KurrentDB, which is gone: it becomes the log of this folder')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
A backup is a folder, a tar archive, or - for one on standard input. It has no keys: they are put into the folder first. Nothing is written over, and
everything is checked before the folder gets it. A store that lacks what this machine has known of it is refused (STORE_OLDER) unless two
administrators accept it; what was revoked is then revoked again.

Examples:
  $ nusec restore /backup/2026-11-29 --data /var/lib/nusec
  $ nusec restore - --data /var/lib/nusec < nusec.tar
  $ nusec restore --data /var/lib/nusec
  $ nusec restore --data /var/lib/nusec --token-file alice.token --second-token-file bob.token`,
    )
    .action(async (from: string | undefined, options: Options) => {
      const tokens = tokensOf(options);
      const done =
        from === undefined
          ? await takeUpFolder(options.data, tokens)
          : await (await import('../services/backup/restoreBackup.ts')).restoreBackup(
              from === '-' ? process.stdin : from,
              options.data,
              tokens,
              options.databaseLost,
            );
      print(options, done, shown(done));
    });
}

async function takeUpFolder(data: string, tokens: readonly string[]): Promise<Accepted> {
  const { readSettings } = await import('../config.ts');
  const { takeUp } = await import('../services/backup/takeUp.ts');
  return takeUp(readSettings(data), tokens);
}

function tokensOf({ tokenFile, secondTokenFile }: Options): readonly string[] {
  if (tokenFile === undefined && secondTokenFile === undefined) return [];
  return [tokenFile ?? '', secondTokenFile ?? ''].map(file => readText(file, 'token file').trim());
}

const shown = ({ at, by, events, lack, revokedAgain, erasedAgain }: Accepted & Partial<Restored>): string =>
  record({
    ...(at !== undefined && { 'backup of': at }),
    events,
    ...(by.length > 0 && { 'accepted by': by.join(' and '), lacks: lack, 'revoked again': revokedAgain, 'erased again': erasedAgain }),
  }) + (at !== undefined && erasedAgain === 'unknown' ? `\n\n${erasureNote(at)}` : '');

const erasureNote = (at: string): string =>
  `this machine does not know who was erased after ${at}: such people can be read again; erase them again (nusec subject erase)`;
