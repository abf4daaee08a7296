import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { toPem } from '../pki/pem.ts';
import { requirePasswordless } from './eventStoreOption.ts';
import { print, record, styled } from './output.ts';

type Options = { data: string; eventStore?: string; objectStore?: string; keyFile?: string; json?: boolean };

/** `nusec join`: makes the data folder of a further machine of a project whose log is in KurrentDB. */
export function registerJoin(program: Command): void {
  program
    .command('join')
    .description('make the data folder of a further machine of a project, from its KurrentDB and object store')
    .requiredOption('--data <dir>', 'data folder; created when missing')
    .option('--event-store <url>', 'KurrentDB that has the event log (KURRENTDB_URL)')
    .option('--object-store <url>', 'what the machines share beside the log (NUSEC_OBJECT_STORE)')
    .option('--key-file <file>', 'copy of keystore.key of another machine, mode 600; not with a passphrase or a token')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
The secret that opens the keys is brought by a person: keystore.key, the passphrase file (NUSEC_PASSPHRASE_FILE), or the PIN of the token. It is in neither store.

Examples:
  $ nusec join --data /var/lib/nusec --key-file ./keystore.key --event-store kurrentdb://db.example.com:2113 --object-store 's3://nusec/oem?endpoint=https://s3.example.com'
  $ NUSEC_PASSPHRASE_FILE=/run/secrets/nusec nusec join --data /var/lib/nusec --json`,
    )
    .action(async ({ data, eventStore, objectStore, keyFile, ...options }: Options) => {
      const { readSettings } = await import('../config.ts');
      const { authorityOf, rootDer } = await import('../services/authority/authority.ts');
      const { makeFurtherFolder } = await import('../services/dataFolder/furtherFolder.ts');
      const { openContext } = await import('../services/dataFolder/open.ts');
      const settings = readSettings(data, {
        ...process.env,
        ...(eventStore !== undefined && { KURRENTDB_URL: requirePasswordless(eventStore) }),
        ...(objectStore !== undefined && { NUSEC_OBJECT_STORE: objectStore }),
      });
      makeFurtherFolder(settings, keyFile);
      const { ctx, close } = await openContext(settings, { https: settings.httpsPort, crl: settings.crlPort });
      const facts = await Promise.all([authorityOf(ctx), ctx.store.head()]).finally(close);
      const [root, events] = [rootDer(facts[0]), facts[1]];
      const { sha256Hex } = await import('../digest.ts');
      const [rootSha256, rootFile] = [sha256Hex(root), join(data, 'root.pem')];
      if (!existsSync(rootFile)) writeFileSync(rootFile, toPem('CERTIFICATE', root));
      const text = [
        record({ 'root certificate': rootFile, 'root SHA-256': rootSha256, events }),
        '',
        `Next: ${styled('bold', `nusec server --data ${data} --event-store … --object-store … --link-host …`)}`,
      ].join('\n');
      print(options, { rootSha256, rootFile, events }, text);
    });
}
