import { hkdfSync, type KeyObject } from 'node:crypto';
import { concat, equalBytes, fromBase64url, toBase64url, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import { ivBytes, openBox, sealBox, tagBytes } from '../sealedBox.ts';
import type { KeyOrigin } from './keyRules.ts';
import type { KeyAlgorithm } from './port.ts';
import { type Argon2Cost, isSaneCost, noArgon2Cost, saltBytes, secretKey, type Unlock, unlockKey } from './unlock.ts';

/** The keyset file, format NKS1. All integers big endian.
 *
 *  | offset | bytes | what |
 *  |---|---|---|
 *  | 0   | 4  | "NKS1" |
 *  | 4   | 1  | what opens it: 1 passphrase, 2 key file |
 *  | 5   | 12 | argon2id memory in KiB u32, passes u32, lanes u32; zero with a key file |
 *  | 17  | 16 | salt |
 *  | 33  | 12 | iv of the file key |
 *  | 45  | 48 | file key, AES-256-GCM under the unlock key, AAD = bytes 0–32, tag at its end |
 *  | 93  | 32 | SHA-256 of bytes 0–92: distinguishes damage from a wrong passphrase |
 *  | 125 | 12 | iv of the body |
 *  | 137 | n  | body, AES-256-GCM under HKDF(file key, "body"), AAD = bytes 0–124, tag at its end |
 *
 *  The body is JSON: a list of entries. Secrets in it are AES-KWP-wrapped once more under HKDF(file key, "entries"), so that
 *  rewriting the file never needs a secret in the clear. */

/** One key at rest. `wrapped`: PKCS#8 or 32 raw bytes, under the entry key. */
export type KeysetEntry = {
  readonly id: string;
  readonly algorithm: KeyAlgorithm;
  readonly origin: KeyOrigin;
  readonly createdAt: string;
  readonly publicKey?: Uint8Array;
  readonly wrapped: Uint8Array;
};

/** The head of an opened keyset (public) and the keys behind it. */
export type KeysetKeys = { readonly header: Uint8Array; readonly body: KeyObject; readonly entries: KeyObject };
export type RandomBytes = (bytes: number) => Uint8Array;

const magic = utf8('NKS1');
const unlockKinds = { passphrase: 1, keyFile: 2 } as const;
const saltOffset = 17;
const fileKeyAadBytes = saltOffset + saltBytes;
const keyBytes = 32;
const checksumOffset = fileKeyAadBytes + ivBytes + keyBytes + tagBytes;
export const headerBytes = checksumOffset + 32;
/** 50 000 keys of about 600 bytes fit. */
export const maxKeysetBytes = 64 * 1024 * 1024;

/** Makes the keys and header of a new, empty keyset. */
export async function newKeyset(unlock: Unlock, cost: Argon2Cost, randomBytes: RandomBytes): Promise<KeysetKeys> {
  const head = encodeHead(unlock, cost, randomBytes(saltBytes));
  const fileKey = randomBytes(keyBytes);
  const sealed = sealBox(await unlockKey(unlock, head.subarray(saltOffset), cost), randomBytes(ivBytes), head, fileKey);
  const header = concat(head, sealed);
  return subkeys(concat(header, sha256(header)), secretKey(fileKey));
}

/** @throws KEYSTORE_DAMAGED (any change of the file), KEYSTORE_WRONG_PASSPHRASE (or another key file), KEYSTORE_PERMISSIONS */
export async function openKeyset(content: Uint8Array, unlock: Unlock): Promise<{ keys: KeysetKeys; entries: readonly KeysetEntry[] }> {
  const header = Uint8Array.from(content.subarray(0, headerBytes));
  const keys = subkeys(header, await openFileKey(header, unlock));
  return { keys, entries: readEntries(content, keys) };
}

/** The entries of a keyset whose keys are known already. @throws KEYSTORE_DAMAGED (any change of the file, or another keyset) */
export function readEntries(content: Uint8Array, { header, body }: KeysetKeys): readonly KeysetEntry[] {
  const opened = equalBytes(content.subarray(0, headerBytes), header) ? openBox(body, header, content.subarray(headerBytes)) : undefined;
  if (!opened) throw new NusecError('KEYSTORE_DAMAGED', 'the body of the keyset was changed');
  return decodeEntries(opened);
}

/** @returns the whole file */
export function encodeKeyset(keys: KeysetKeys, entries: Iterable<KeysetEntry>, randomBytes: RandomBytes): Uint8Array {
  return concat(keys.header, sealBox(keys.body, randomBytes(ivBytes), keys.header, encodeEntries(entries)));
}

async function openFileKey(header: Uint8Array, unlock: Unlock): Promise<KeyObject> {
  const { kind, cost, salt } = decodeHeader(header);
  if (kind !== kindOf(unlock)) throw new NusecError('KEYSTORE_WRONG_PASSPHRASE', 'the keyset is opened by the other kind of secret');
  const key = await unlockKey(unlock, salt, cost);
  const fileKey = openBox(key, header.subarray(0, fileKeyAadBytes), header.subarray(fileKeyAadBytes, checksumOffset));
  if (!fileKey) throw new NusecError('KEYSTORE_WRONG_PASSPHRASE', 'the keyset does not open with this secret');
  return secretKey(fileKey);
}

function decodeHeader(header: Uint8Array): { kind: number; cost: Argon2Cost; salt: Uint8Array } {
  const damaged = new NusecError('KEYSTORE_DAMAGED', 'the head of the keyset was changed');
  if (header.length !== headerBytes || !equalBytes(header.subarray(0, magic.length), magic)) throw damaged;
  if (!equalBytes(sha256(header.subarray(0, checksumOffset)), header.subarray(checksumOffset))) throw damaged;
  const view = new DataView(header.buffer, header.byteOffset);
  const kind = view.getUint8(4);
  const cost = { memoryKiB: view.getUint32(5), passes: view.getUint32(9), lanes: view.getUint32(13) };
  if (kind === unlockKinds.passphrase && !isSaneCost(cost)) throw damaged;
  return { kind, cost, salt: header.slice(saltOffset, fileKeyAadBytes) };
}

function encodeHead(unlock: Unlock, cost: Argon2Cost, salt: Uint8Array): Uint8Array {
  const kind = kindOf(unlock);
  const used = kind === unlockKinds.passphrase ? cost : noArgon2Cost;
  const fixed = new Uint8Array(saltOffset);
  fixed.set(magic);
  const view = new DataView(fixed.buffer);
  view.setUint8(4, kind);
  view.setUint32(5, used.memoryKiB);
  view.setUint32(9, used.passes);
  view.setUint32(13, used.lanes);
  return concat(fixed, salt);
}

const kindOf = (unlock: Unlock): number => ('passphrase' in unlock ? unlockKinds.passphrase : unlockKinds.keyFile);

function subkeys(header: Uint8Array, fileKey: KeyObject): KeysetKeys {
  const subkey = (use: string): KeyObject =>
    secretKey(new Uint8Array(hkdfSync('sha256', fileKey, new Uint8Array(0), utf8(`NuSEC keyset v1 ${use}`), keyBytes)));
  return { header, body: subkey('body'), entries: subkey('entries') };
}

type JsonEntry = Omit<KeysetEntry, 'publicKey' | 'wrapped'> & { readonly publicKey?: string; readonly wrapped: string };

function encodeEntries(entries: Iterable<KeysetEntry>): Uint8Array {
  const list = Array.from(entries, ({ id, algorithm, origin, createdAt, publicKey, wrapped }): JsonEntry => {
    const text = { id, algorithm, origin, createdAt, wrapped: toBase64url(wrapped) };
    return publicKey ? { ...text, publicKey: toBase64url(publicKey) } : text;
  });
  return utf8(JSON.stringify(list));
}

/** The body is authenticated: what is in it was written by encodeEntries. */
function decodeEntries(body: Uint8Array): readonly KeysetEntry[] {
  const list = JSON.parse(new TextDecoder().decode(body)) as readonly JsonEntry[];
  return list.map(({ publicKey, wrapped, ...rest }) => {
    const entry = { ...rest, wrapped: fromBase64url(wrapped) };
    return publicKey ? { ...entry, publicKey: fromBase64url(publicKey) } : entry;
  });
}
