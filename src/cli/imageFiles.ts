import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
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
import { print, record, styled, table } from './output.ts';

/** What `nusec image` does with files. */

export type Shared = { json?: boolean };
export type Verify = Shared & {
  key: string;
  encryptionKey?: string;
  deviceCounter?: number;
  slot?: 'primary' | 'secondary';
  slotBytes?: number;
};
export type Sign = Shared & {
  key: string;
  out: string;
  version?: string;
  counter?: number;
  vendor?: string;
  class?: string;
  keyForm: 'whole' | 'hash';
};
export type Encrypt = Shared & { key: string; to: string; out: string; bits: 128 | 256; keyForm: 'whole' | 'hash' };

const defaultSlotBytes = 1024 * 1024;
const uuidForm = /^[0-9a-f]{32}$/;

export function inspect(file: string, options: Shared): void {
  const view = viewOf(readBytes(file, 'image'));
  const { tlvs, ...facts } = view;
  const rows = tlvs.map(tlv => [tlv.type, tlv.protected ? 'protected' : '', tlv.bytes, tlv.value.slice(0, 64)]);
  print(options, view, `${record(facts)}\n\n${table(['TLV', 'AREA', 'BYTES', 'VALUE'], rows)}`);
}

export function verify(file: string, options: Verify): void {
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

export function signFile(file: string, options: Sign): void {
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
export function encrypt(file: string, options: Encrypt): void {
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

export function diff(first: string, second: string, options: Shared): void {
  const differences = differencesOf(viewOf(readBytes(first, 'image')), viewOf(readBytes(second, 'image')));
  const rows = differences.map(one => [one.what, one.first.slice(0, 40), one.second.slice(0, 40)]);
  print(options, { differences }, table(['WHAT', 'FIRST', 'SECOND'], rows));
  if (differences.length > 0) process.exitCode = 1;
}
