import type { Command } from 'commander';
import type { Encrypt, Shared, Sign, Verify } from './imageFiles.ts';
import { keyBits, oneOf, wholeNumber } from './options.ts';

const maxSlotBytes = 64 * 1024 * 1024;
const counterNumber = wholeNumber(0, 0xffff_ffff);
const slotName = oneOf(['primary', 'secondary']);
const keyForm = oneOf(['hash', 'whole']);
const work = () => import('./imageFiles.ts');

/** `nusec image`: MCUboot images in files, without a server. */
export function registerImage(program: Command): void {
  const image = program
    .command('image')
    .description('MCUboot images in files: look, verify as the bootloader does, sign, encrypt, compare');
  const command = (usage: string, description: string, ...examples: readonly string[]): Command =>
    image
      .command(usage)
      .description(description)
      .option('--json', 'print JSON instead of text')
      .addHelpText('after', `\nExamples:\n${examples.map(example => `  $ nusec image ${example}`).join('\n')}`);
  command('inspect <file>', 'what an image says of itself', 'inspect app.bin', 'inspect app.bin --json').action(
    async (file: string, options: Shared) => (await work()).inspect(file, options),
  );
  command(
    'verify <file>',
    'the bootloader’s verdict and its reason; exit status 0 or 1',
    'verify app.bin --key sign.pub.pem',
    'verify app.bin --key sign.pub.pem --encryption-key device.pem --device-counter 4 --slot secondary --slot-bytes 262144 --json',
  )
    .requiredOption('--key <pub.pem>', 'public key that the bootloader knows')
    .option('--encryption-key <priv.pem>', 'private key that the bootloader decrypts with')
    .option('--device-counter <n>', 'security counter of the device; without it there is no rollback protection', counterNumber)
    .option('--slot <slot>', 'primary or secondary', slotName, 'secondary')
    .option('--slot-bytes <n>', 'size of the slot; 1 MiB, or the file when it is larger', wholeNumber(1, maxSlotBytes))
    .action(async (file: string, options: Verify) => (await work()).verify(file, options));
  command(
    'sign <file>',
    'sign a raw binary or an image anew with a key in a file',
    'sign app.raw --version 1.2.0 --counter 3 --key sign.pem --out app.bin',
    'sign app.bin --key other.pem --out resigned.bin',
  )
    .requiredOption('--key <priv.pem>', 'P-256 private key')
    .requiredOption('--out <file>', 'the signed image')
    .option('--version <version>', '1.2.3 or 1.2.3+4; needed for a raw binary')
    .option('--counter <n>', 'security counter', counterNumber)
    .option('--vendor <hex>', 'vendor UUID, 32 hex digits')
    .option('--class <hex>', 'class UUID, 32 hex digits')
    .option('--key-form <form>', 'the key in the image: hash, or whole for a bootloader that compares it with OTP', keyForm, 'hash')
    .action(async (file: string, options: Sign) => (await work()).signFile(file, options));
  command(
    'encrypt <file>',
    'encrypt an image for one device, and sign it',
    'encrypt app.bin --to device.pub.pem --key sign.pem --out app.enc.bin',
    'encrypt app.bin --to device.pub.pem --key sign.pem --bits 256 --out app.enc.bin',
  )
    .requiredOption('--to <pub.pem>', 'P-256 encryption key of the device')
    .requiredOption('--key <priv.pem>', 'P-256 private key that signs')
    .requiredOption('--out <file>', 'the encrypted image')
    .option('--bits <n>', 'AES key: 128 or 256', keyBits, 128)
    .option('--key-form <form>', 'as for sign', keyForm, 'hash')
    .action(async (file: string, options: Encrypt) => (await work()).encrypt(file, options));
  command('diff <first> <second>', 'where two images differ; exit status 0 or 1', 'diff old.bin new.bin').action(
    async (first: string, second: string, options: Shared) => (await work()).diff(first, second, options),
  );
}
