import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { readSettings } from '../config.ts';
import type { Curve } from '../ecKey.ts';
import { createSecretFile } from '../keystore/secretFile.ts';
import { toPem } from '../pki/pem.ts';
import { initialiseProject } from '../services/administration/initialise.ts';
import { makeRecoveryCodes } from '../services/administration/recoveryCodes.ts';
import { authorityOf, rootDer } from '../services/authority/authority.ts';
import { makeStandingKeys } from '../services/backup/markedStore.ts';
import { createAlarms } from '../services/base/alarms.ts';
import { openContext } from '../services/dataFolder/open.ts';
import { print, record, styled } from './output.ts';

type Options = {
  data: string;
  organization: string;
  administrator: string;
  second: string;
  curve: Curve;
  icaCurve?: Curve;
  json?: boolean;
};

/** `nusec init`: the key ceremony on the server's own machine, before the server starts. */
export function registerInit(program: Command): void {
  program
    .command('init')
    .description('create the project: root and issuing CAs, signing keys, the first two administrators')
    .requiredOption('--data <dir>', 'data folder; created when missing')
    .option('--organization <name>', 'name in the certificates', 'Example OEM')
    .option('--administrator <name>', 'first administrator', 'alice')
    .option('--second <name>', 'second administrator: whatever needs four eyes needs both', 'bob')
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
    .action(async (options: Options) => {
      const settings = readSettings(options.data);
      const opened = await openContext(settings, { https: settings.httpsPort, crl: settings.crlPort }, true);
      try {
        const { organization, administrator, second, curve, icaCurve, data } = options;
        const result = await initialiseProject(opened.ctx, {
          organization,
          administrators: [administrator, second],
          curve,
          ...(icaCurve && { icaCurve }),
        });
        await makeStandingKeys(opened.ctx);
        const recoveryCodes = await makeRecoveryCodes({ ctx: opened.ctx, alarms: createAlarms(opened.ctx) }, false);
        const rootFile = join(data, 'root.pem');
        writeFileSync(rootFile, toPem('CERTIFICATE', rootDer(await authorityOf(opened.ctx))));
        const tokens = result.tokens.map(({ name, token }) => {
          const file = join(data, `${name}.token`);
          createSecretFile(file, new TextEncoder().encode(token));
          return { name, tokenFile: file };
        });
        const text = [
          record({
            'root certificate': rootFile,
            'root SHA-256': result.rootSha256,
            ...Object.fromEntries(tokens.map(t => [`token of ${t.name}`, t.tokenFile])),
          }),
          '',
          `recovery codes, shown this once; give each to another person (two of them help when administrators have no token any more):`,
          ...recoveryCodes.map(code => `  ${code}`),
          '',
          `Next: ${styled('bold', `nusec server --data ${data}`)}`,
        ].join('\n');
        print(options, { rootSha256: result.rootSha256, rootFile, tokens, recoveryCodes }, text);
      } finally {
        await opened.close();
      }
    });
}
