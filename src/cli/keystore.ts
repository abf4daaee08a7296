import type { Command } from 'commander';
import { readText } from './client.ts';
import { print, progress, record, table } from './output.ts';

type Options = { readonly data: string; readonly json?: boolean };

/** `nusec keystore`: care of the keys on the server's own machine. */
export function registerKeystore(program: Command): void {
  const keystore = program.command('keystore').description('the keys of the server: status, rotation, backup, restore, move to a token');
  registerStatus(keystore);
  registerRotate(keystore);
  registerBackup(keystore);
  registerRestore(keystore);
  registerMigrate(keystore);
}

function registerStatus(keystore: Command): void {
  withData(keystore.command('status').description('which keys there are, and what wraps the boot keys; a server may run'))
    .addHelpText('after', '\nExamples:\n  $ nusec keystore status --data /var/lib/nusec')
    .action(async (options: Options) => {
      const status = await (await import('../services/dataFolder/keystoreCare.ts')).keystoreStatus(
        (await import('../config.ts')).readSettings(options.data),
      );
      const { keys, wrappedBy, ...rest } = status;
      const wrapped = Object.entries(wrappedBy).map(([kek, count]) => `${count} under ${kek}`);
      const head = record({
        driver: rest.driver,
        'boot KEK': rest.bootKek,
        'boot keys': wrapped.join(', ') || 0,
        'destroyed boot keys': rest.destroyedBootKeys,
      });
      const rows = keys.map(key => [key.id, key.algorithm, key.createdAt]);
      print(options, status, `${head}\n\n${table(['key', 'algorithm', 'made'], rows)}`);
    });
}

function registerRotate(keystore: Command): void {
  withData(keystore.command('rotate').description('new key-encryption key, file key and key file; the server must be stopped'))
    .option('--new-passphrase-file <file>', 'the passphrase from now on, for a keyset that a passphrase opens; mode 600')
    .addHelpText(
      'after',
      `
Every boot key is wrapped anew and the old key-encryption key is destroyed. The keys themselves stay: a backup made before still holds
them all, so make a new one and destroy the old. Cut off, it is run again and goes on. Where machines share the keyset, the servers of all
of them must be stopped; bring the new keystore.key (or passphrase) to the others before they start again.

Examples:
  $ nusec keystore rotate --data /var/lib/nusec`,
    )
    .action(async (options: Options & { newPassphraseFile?: string }) => {
      const settings = (await import('../config.ts')).readSettings(options.data);
      const result = await (await import('../services/dataFolder/keystoreCare.ts')).rotateKeystore(
        settings,
        options.newPassphraseFile,
        count => progress(`${count} boot keys wrapped anew`),
      );
      const text = record({
        'new boot KEK': result.kekId,
        'boot keys wrapped anew': result.rewrapped,
        destroyed: result.retired.join(', ') || 'none',
        'keys under a new file key': result.rekeyed,
        ...(settings.objectStore &&
          result.rekeyed !== undefined && { next: 'the new key file or passphrase to every other machine, by hand' }),
      });
      print(options, result, text);
    });
}

function registerBackup(keystore: Command): void {
  withData(keystore.command('backup').description('all keys in one sealed file, its key in shares for several people; a server may run'))
    .requiredOption('--file <file>', 'the backup; must not exist')
    .requiredOption('--shares-dir <dir>', 'folder for one file per share (mode 600)')
    .option('--threshold <n>', 'shares needed to restore', Number, 3)
    .option('--shares <n>', 'shares made', Number, 5)
    .addHelpText(
      'after',
      `
Hand every share to another person and delete the share files. Fewer shares than the threshold tell nothing.

Examples:
  $ nusec keystore backup --data /var/lib/nusec --file /media/usb/nusec.nkb --shares-dir /root/shares
  $ nusec keystore restore --drill --file /media/usb/nusec.nkb --share share-1-*.txt share-3-*.txt share-4-*.txt`,
    )
    .action(async (options: Options & { file: string; sharesDir: string; threshold: number; shares: number }) => {
      const { file, sharesDir: sharesFolder, threshold, shares } = options;
      const result = await (await import('../services/dataFolder/keystoreCare.ts')).backUpKeystore(
        (await import('../config.ts')).readSettings(options.data),
        {
          file,
          sharesFolder,
          threshold,
          shares,
        },
      );
      const text = record({
        backup: file,
        id: result.backupIdHex,
        keys: result.keys,
        'boot keys': result.bootKeys,
        shares: `any ${threshold} of ${shares}, in ${sharesFolder}`,
        recorded: result.recorded ? 'yes' : 'no: the server has the event log',
      });
      print(options, result, text);
    });
}

function registerRestore(keystore: Command): void {
  const command = keystore.command('restore').description('keyset and custody from a backup and enough shares');
  command
    .option('--data <dir>', 'data folder without a keystore; not needed for a drill')
    .requiredOption('--file <file>', 'the backup')
    .requiredOption('--share <files...>', 'files with a share each')
    .option('--drill', 'restore into a temporary folder, use every key, leave nothing')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
The restored keyset gets a new key file DATA/keystore.key, or the passphrase of NUSEC_PASSPHRASE_FILE.

Examples:
  $ nusec keystore restore --drill --file nusec.nkb --share share-1-*.txt share-3-*.txt share-4-*.txt
  $ nusec keystore restore --data /var/lib/nusec --file nusec.nkb --share share-1-*.txt share-3-*.txt share-4-*.txt`,
    )
    .action(async (options: { data?: string; file: string; share: string[]; drill?: boolean; json?: boolean }) => {
      const { data, file, share, drill } = options;
      const shares = share.map(each => readText(each, 'share'));
      if (!drill && data === undefined) command.error("error: required option '--data <dir>' not specified", { exitCode: 2 });
      const result = drill
        ? await (await import('../services/dataFolder/keystoreCare.ts')).drillKeystore(file, shares)
        : await (await import('../services/dataFolder/keystoreCare.ts')).restoreKeystore(
            (await import('../config.ts')).readSettings(data ?? ''),
            file,
            shares,
          );
      const text = record({
        [drill ? 'drill passed, backup of' : 'restored, backup of']: result.createdAt,
        keys: result.keys,
        'boot keys': result.bootKeys,
      });
      print(options, result, text);
    });
}

function registerMigrate(keystore: Command): void {
  withData(keystore.command('migrate').description('from the software keystore into a PKCS#11 token; the server must be stopped'))
    .addHelpText(
      'after',
      `
The token is named by the settings pkcs11Module, pkcs11Token and pkcs11PinFile (or NUSEC_PKCS11_…). Keys that lived in software are no
secret of the token alone: rotate what can be rotated. The software keystore stays; take it off the machine once the token serves.

Examples:
  $ NUSEC_PKCS11_MODULE=/usr/lib/softhsm/libsofthsm2.so NUSEC_PKCS11_TOKEN=nusec NUSEC_PKCS11_PIN_FILE=pin \\
      nusec keystore migrate --data /var/lib/nusec`,
    )
    .action(async (options: Options) => {
      const result = await (await import('../services/dataFolder/keystoreCare.ts')).migrateKeystore(
        (await import('../config.ts')).readSettings(options.data),
      );
      const text = record({
        'keys moved': result.keys,
        'born in the token': result.newKeks.join(', ') || 'none',
        'boot keys wrapped by the token': result.bootKeys,
        next: 'set keystore to pkcs11 in nusec.json, or NUSEC_KEYSTORE=pkcs11',
      });
      print(options, result, text);
    });
}

const withData = (command: Command): Command =>
  command.requiredOption('--data <dir>', 'data folder of the server').option('--json', 'print JSON instead of text');
