import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { concat, fromHex } from '../bytes.ts';
import { parseVersion } from '../domain/version.ts';
import { NusecError } from '../errors.ts';
import { attachTrailer, buildImage, deviceTrailer, encryptBody, signInput } from '../ota/build.ts';
import { wrapKey } from '../ota/ecies.ts';
import { isMcubootImage } from '../ota/image.ts';
import { reopenImage } from '../ota/prepare.ts';
import { type ImageSpec, specOf } from '../ota/spec.ts';
import { type BootPolicy, verifyImage } from '../ota/verify.ts';
import { readBytes } from './client.ts';
import { decryptionOf, encryptionPointOf, signaturePolicyOf, signerOf } from './imageKeys.ts';
import { differencesOf, viewOf } from './imageView.ts';
import { wholeNumber } from './options.ts';
import { print, record, styled, table } from './output.ts';

type Shared = { json?: boolean };
type Verify = Shared & {
  key: string;
  encryptionKey?: string;
  deviceCounter?: number;
  slot?: 'primary' | 'secondary';
  slotBytes?: number;
};
type Sign = Shared & {
  key: string;
  out: string;
  version?: string;
  counter?: number;
  vendor?: string;
  class?: string;
  keyForm: 'whole' | 'hash';
};
type Encrypt = Shared & { key: string; to: string; out: string; bits: 128 | 256; keyForm: 'whole' | 'hash' };

const defaultSlotBytes = 1024 * 1024;
const maxSlotBytes = 64 * 1024 * 1024;
const counterNumber = wholeNumber(0, 0xffff_ffff);
const uuidForm = /^[0-9a-f]{32}$/;

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
  command('inspect <file>', 'what an image says of itself', 'inspect app.bin', 'inspect app.bin --json').action(inspect);
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
    .action(verify);
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
    .action(signFile);
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
    .action(encrypt);
  command('diff <first> <second>', 'where two images differ; exit status 0 or 1', 'diff old.bin new.bin').action(diff);
}

function oneOf<Value extends string>(...values: readonly Value[]): (text: string) => Value {
  return text => {
    const found = values.find(value => value === text);
    if (found === undefined) throw new NusecError('BAD_REQUEST', `one of: ${values.join(', ')}`);
    return found;
  };
}
const slotName = oneOf('primary', 'secondary');
const keyForm = oneOf('hash', 'whole');
export const keyBits = (text: string): 128 | 256 => (oneOf('128', '256')(text) === '256' ? 256 : 128);

function inspect(file: string, options: Shared): void {
  const view = viewOf(readBytes(file, 'image'));
  const { tlvs, ...facts } = view;
  const rows = tlvs.map(tlv => [tlv.type, tlv.protected ? 'protected' : '', tlv.bytes, tlv.value.slice(0, 64)]);
  print(options, view, `${record(facts)}\n\n${table(['TLV', 'AREA', 'BYTES', 'VALUE'], rows)}`);
}

function verify(file: string, options: Verify): void {
  const bytes = readBytes(file, 'image');
  const { encryptionKey, deviceCounter, slot = 'secondary', slotBytes = Math.max(defaultSlotBytes, bytes.length) } = options;
  const policy: BootPolicy = {
    signature: signaturePolicyOf(options.key, bytes),
    slotBytes,
    slot,
    ...(encryptionKey !== undefined && { decryption: decryptionOf(encryptionKey) }),
    ...(deviceCounter !== undefined && { securityCounter: deviceCounter }),
  };
  const verdict = verifyImage(bytes, policy);
  const { ok } = verdict;
  const reason = verdict.ok ? null : verdict.reason;
  const unsupported = verdict.ok ? undefined : verdict.unsupported;
  print(
    options,
    { ok, reason, ...(unsupported && { unsupported }) },
    ok ? styled('green', 'accepted') : `refused: ${unsupported ?? reason}`,
  );
  if (!ok) process.exitCode = 1;
}

function signFile(file: string, options: Sign): void {
  const { version, counter, vendor, class: productClass } = options;
  const upload = readBytes(file, 'image');
  const found: Partial<ImageSpec> & { payload: Uint8Array } = isMcubootImage(upload) ? specOf(reopenImage(upload)) : { payload: upload };
  const chosen = version === undefined ? found.version : parseVersion(version);
  if (chosen === undefined) throw new NusecError('BAD_REQUEST', 'a raw binary needs --version');
  const spec: ImageSpec = {
    ...found,
    version: chosen,
    ...(counter !== undefined && { securityCounter: counter }),
    ...(vendor !== undefined && { vendorUuid: uuid(vendor) }),
    ...(productClass !== undefined && { classUuid: uuid(productClass) }),
  };
  const built = buildImage(spec);
  write(options, attachTrailer(built.body, trailerOf(options, built.body, built.imageHash)));
}

function uuid(text: string): Uint8Array {
  if (!uuidForm.test(text)) throw new NusecError('BAD_REQUEST', 'a UUID is 32 hex digits');
  return fromHex(text);
}

function trailerOf({ key, keyForm: form }: Pick<Sign, 'key' | 'keyForm'>, body: Uint8Array, imageHash: Uint8Array, encTlv?: Uint8Array) {
  const { publicKey, sign } = signerOf(key);
  return deviceTrailer({ imageHash, publicKey, keyForm: form, signature: sign(signInput({ body })), ...(encTlv && { encTlv }) });
}

/** The hash and the signature are over the image in clear, with the flag of the encrypted variant. */
function encrypt(file: string, options: Encrypt): void {
  const body = reopenImage(readBytes(file, 'image'));
  const built = buildImage({ ...specOf(body), encryptionBits: options.bits });
  const cek = new Uint8Array(randomBytes(options.bits / 8));
  const encTlv = wrapKey(cek, encryptionPointOf(options.to), new Uint8Array(randomBytes(32)));
  write(options, concat(encryptBody(built, cek), trailerOf(options, built.body, built.imageHash, encTlv)));
}

function write(options: Shared & { readonly out: string }, bytes: Uint8Array): void {
  writeFileSync(options.out, bytes, { flag: 'wx' });
  const facts = { file: options.out, bytes: bytes.length };
  print(options, facts, record(facts));
}

function diff(first: string, second: string, options: Shared): void {
  const differences = differencesOf(viewOf(readBytes(first, 'image')), viewOf(readBytes(second, 'image')));
  const rows = differences.map(one => [one.what, one.first.slice(0, 40), one.second.slice(0, 40)]);
  print(options, { differences }, table(['WHAT', 'FIRST', 'SECOND'], rows));
  if (differences.length > 0) process.exitCode = 1;
}
