import { type Command, Option } from 'commander';
import type { InitOptions } from './initialise.ts';
import { personName } from './options.ts';

/** `nusec init`: the key ceremony on the server's own machine, before the server starts. */
export function registerInit(program: Command): void {
  program
    .command('init')
    .description('create the project: root and issuing CAs, signing keys, the first two administrators')
    .requiredOption('--data <dir>', 'data folder; created when missing')
    .option('--organization <name>', 'name in the certificates', 'Example OEM')
    .option('--administrator <name>', 'first administrator', personName, 'alice')
    .option('--second <name>', 'second administrator: whatever needs four eyes needs both', personName, 'bob')
    .addOption(new Option('--curve <curve>', 'of the root’s key').choices(['P-256', 'P-384']).default('P-256'))
    .addOption(new Option('--ica-curve <curve>', 'of the keys of issuing CAs; default: that of the root').choices(['P-256', 'P-384']))
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
The tokens are written to DATA/<name>.token (mode 600) and are not stored anywhere else; hand them over and delete them.
The keyset is opened by DATA/keystore.key (mode 600), or by a passphrase when NUSEC_PASSPHRASE_FILE names a file.

Examples:
  $ nusec init --data /var/lib/nusec --organization "Example OEM" --administrator alice --second bob
  $ nusec init --data ./data --curve P-384 --ica-curve P-256
  $ NUSEC_PASSPHRASE_FILE=/run/secrets/nusec nusec init --data ./data --json`,
    )
    .action(async (options: InitOptions) => (await import('./initialise.ts')).initialise(options));
}
