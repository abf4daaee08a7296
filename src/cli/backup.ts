import type { Command } from 'commander';
import type { Manifest } from '../services/backup/manifest.ts';
import { print, progress, record } from './output.ts';

type Options = { data: string; json?: boolean };

/** `nusec backup`: on the server's own machine, also while servers run. */
export function registerBackup(program: Command): void {
  program
    .command('backup <to>')
    .description(
      'copy the data folder, without its keys, while the server runs; to a new folder, or as a tar archive to standard output (-)',
    )
    .requiredOption('--data <dir>', 'data folder; servers may be running')
    .option('--json', 'print JSON instead of text; with - on standard error')
    .addHelpText(
      'after',
      `
Everything is checked after it was copied. The keys stay where they are: back them up by nusec keystore backup, or as the token's vendor says.

Examples:
  $ nusec backup /backup/2026-11-29 --data /var/lib/nusec
  $ nusec backup - --data /var/lib/nusec | zstd > nusec.tar.zst`,
    )
    .action(async (to: string, options: Options) => {
      const { readSettings } = await import('../config.ts');
      const { backUpToFolder, backUpToStream } = await import('../services/backup/makeBackup.ts');
      const settings = readSettings(options.data);
      const tell = progressTeller(options);
      if (to !== '-') return show(options, await backUpToFolder(settings, to, tell));
      const manifest = await backUpToStream(settings, process.stdout, tell);
      progress(options.json ? JSON.stringify(summaryOf(manifest)) : record(summaryOf(manifest)));
    });
}

const show = (options: Options, manifest: Manifest): void => print(options, summaryOf(manifest), record(summaryOf(manifest)));

const summaryOf = ({ at, events, newestHash, files, keystore }: Manifest) => ({
  at,
  events,
  newestHash,
  files: files.length,
  bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
  keystore: keystore.driver,
});

/** Ten lines for each part at most. */
function progressTeller({ json }: Options): (what: string, part: number) => void {
  let told = '';
  return (what, part) => {
    const line = `${what}: ${Math.floor(part * 10) * 10} %`;
    if (json || line === told) return;
    told = line;
    progress(line);
  };
}
