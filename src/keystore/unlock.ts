import { type Argon2Parameters, argon2, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { createSecretFile, readSecretFile } from './secretFile.ts';

/** From what the operator holds (a passphrase, or a key file) to the AES-256 key that opens the keyset's file key. */

export type Unlock = { readonly passphrase: string } | { readonly keyFile: string };

/** Argon2id (RFC 9106) costs: memory in KiB, passes over it, lanes. All zero when the keyset is opened by a key file. */
export type Argon2Cost = { readonly memoryKiB: number; readonly passes: number; readonly lanes: number };

/** RFC 9106 §4, second recommended option (64 MiB, t = 3) with one lane; about a quarter of a second. */
export const defaultArgon2Cost: Argon2Cost = { memoryKiB: 64 * 1024, passes: 3, lanes: 1 };
export const noArgon2Cost: Argon2Cost = { memoryKiB: 0, passes: 0, lanes: 0 };
/** What a keyset file may ask of this machine: a forged header must not take all memory. */
const maxArgon2Cost: Argon2Cost = { memoryKiB: 1024 * 1024, passes: 16, lanes: 16 };
/** RFC 9106 §3.1: at least 8 KiB per lane. */
const minMemoryKiBPerLane = 8;

const keyFileBytes = 32;
export const saltBytes = 16;
const minPassphraseChars = 12;
const maxPassphraseBytes = 1024;
const keyFileInfo = utf8('NuSEC keyset key file v1');

export function isSaneCost(cost: Argon2Cost): boolean {
  const inRange = (value: number, least: number, most: number): boolean => Number.isInteger(value) && value >= least && value <= most;
  return (
    inRange(cost.lanes, 1, maxArgon2Cost.lanes) &&
    inRange(cost.passes, 1, maxArgon2Cost.passes) &&
    inRange(cost.memoryKiB, minMemoryKiBPerLane * cost.lanes, maxArgon2Cost.memoryKiB)
  );
}

/** @throws BAD_REQUEST when the passphrase of a new keyset is too short */
export function checkNewPassphrase(passphrase: string): void {
  if ([...passphrase].length < minPassphraseChars) {
    throw new NusecError('BAD_REQUEST', `the passphrase must have at least ${minPassphraseChars} characters`);
  }
}

/** Reads a passphrase from a file of mode 600; one line end at its end does not count.
 *  @throws KEYSTORE_MISSING, KEYSTORE_PERMISSIONS (readable by others, or longer than 1 KiB) */
export function readPassphrase(file: string): string {
  const secret = readSecretFile(file, maxPassphraseBytes);
  if (!secret) throw new NusecError('KEYSTORE_MISSING', `there is no passphrase file ${file}`);
  return new TextDecoder().decode(secret).replace(/\r?\n$/, '');
}

/** @param salt 16 bytes  @returns AES-256 key  @throws KEYSTORE_PERMISSIONS, KEYSTORE_MISSING (no key file) */
export async function unlockKey(unlock: Unlock, salt: Uint8Array, cost: Argon2Cost): Promise<KeyObject> {
  if ('passphrase' in unlock) return keyFromPassphrase(unlock.passphrase, salt, cost);
  const secret = readKeyFile(unlock.keyFile);
  if (!secret) throw new NusecError('KEYSTORE_MISSING', `there is no key file ${unlock.keyFile}`);
  const key = secretKey(new Uint8Array(hkdfSync('sha256', secret, salt, keyFileInfo, keyFileBytes)));
  secret.fill(0);
  return key;
}

/** Makes the key file of a new keyset unless it is there. */
export function ensureKeyFile(file: string, randomBytes: (bytes: number) => Uint8Array): void {
  if (readKeyFile(file)) return;
  const secret = randomBytes(keyFileBytes);
  createSecretFile(file, secret);
  secret.fill(0);
}

/** A secret KeyObject out of bytes that are wiped. */
export function secretKey(bytes: Uint8Array): KeyObject {
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

function readKeyFile(file: string): Uint8Array | undefined {
  const secret = readSecretFile(file, keyFileBytes);
  if (secret && secret.length !== keyFileBytes) throw new NusecError('KEYSTORE_PERMISSIONS', `${file} must hold ${keyFileBytes} bytes`);
  return secret;
}

/** The passphrase is taken in Unicode form NFKC, so that two keyboards give the same bytes. */
function keyFromPassphrase(passphrase: string, salt: Uint8Array, cost: Argon2Cost): Promise<KeyObject> {
  const parameters: Argon2Parameters = {
    message: utf8(passphrase.normalize('NFKC')),
    nonce: salt,
    memory: cost.memoryKiB,
    passes: cost.passes,
    parallelism: cost.lanes,
    tagLength: 32,
  };
  return new Promise((resolve, reject) => {
    argon2('argon2id', parameters, (error, key) => (error ? reject(error) : resolve(secretKey(key))));
  });
}
