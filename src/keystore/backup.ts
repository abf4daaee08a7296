import { randomBytes as cryptoRandomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { fromBase64url, toBase64url, toHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { requireFolder } from '../folder.ts';
import { type BackupHead, backupKeyBytes, createSealer, type Frame, openBackup } from './backupFile.ts';
import { type Custody, type CustodyKey, openCustody } from './custody.ts';
import { replaceFile } from './durableFile.ts';
import { encodeKeyset, type KeysetEntry, newKeyset, type RandomBytes } from './keyset.ts';
import { unwrapKey, wrapKey } from './kwp.ts';
import { pages, readKeyset } from './rotation.ts';
import { secretFileMode } from './secretFile.ts';
import { combineShares, splitSecret } from './shamir.ts';
import { shareFromText, shareToText } from './shareText.ts';
import { type Argon2Cost, checkNewPassphrase, defaultArgon2Cost, ensureKeyFile, secretKey, type Unlock } from './unlock.ts';

/** Backup of the software keystore: all keys and the custody in one sealed file, whose key exists only as Shamir shares. The keystore's own
 *  secret (passphrase, key file) is not in it: a restored keystore gets a new one. This is the one way out for keys, and it takes as many
 *  people as the threshold says (T17). */

export type BackupOptions = {
  readonly keyset: string;
  readonly unlock: Unlock;
  /** Of the project; the caller closes it. */
  readonly custody: Custody;
  /** The backup file; must not exist. */
  readonly file: string;
  readonly threshold: number;
  readonly shares: number;
  readonly randomBytes?: RandomBytes;
  readonly now?: () => Date;
};

export type BackupContent = { readonly backupIdHex: string; readonly createdAt: string; readonly keys: number; readonly bootKeys: number };
export type Backup = BackupContent & { /** One line per share holder. */ readonly shareTexts: readonly string[] };

const backupIdBytes = 8;

/** Writes a backup, durably; a server may be running. @throws KEY_EXISTS (the file), BAD_REQUEST (threshold), and what opening the keystore throws */
export async function writeBackup(options: BackupOptions): Promise<Backup> {
  const { threshold, shares, randomBytes = cryptoRandomBytes, now = () => new Date() } = options;
  const backupKey = randomBytes(backupKeyBytes);
  const backupId = randomBytes(backupIdBytes);
  const createdAt = now().toISOString();
  const head: BackupHead = { backupId, threshold, shares, createdAt };
  const backupIdHex = toHex(backupId);
  const shareTexts = splitSecret(backupKey, threshold, shares, randomBytes).map(share => shareToText({ ...share, backupIdHex, threshold }));
  const sealer = createSealer(secretKey(backupKey), head);
  return { backupIdHex, createdAt, shareTexts, ...(await writeFrames(options, sealer)) };
}

/** The custody first: the keyset read after it has every key-encryption key that its rows need. */
async function writeFrames(options: BackupOptions, sealer: ReturnType<typeof createSealer>): Promise<{ keys: number; bootKeys: number }> {
  const { custody } = options;
  const fd = openNewFile(options.file);
  let bootKeys = 0;
  try {
    writeSync(fd, sealer.head);
    for await (const page of pages(custody)) {
      writeSync(fd, sealer.frame({ custody: page.map(custodyToJson) }, false));
      bootKeys += page.length;
    }
    const { keys, entries } = await readKeyset(options.keyset, options.unlock);
    const frame: Frame = { keys: entries.map(entry => keyToJson(entry, unwrapKey(keys.entries, entry.wrapped))) };
    writeSync(fd, sealer.frame(frame, true));
    fsyncSync(fd);
    return { keys: entries.length, bootKeys };
  } catch (error) {
    rmSync(options.file, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

export type RestoreOptions = {
  readonly file: string;
  readonly shareTexts: readonly string[];
  /** Must not exist; the custody neither. */
  readonly keyset: string;
  readonly custody: string;
  readonly newUnlock: Unlock;
  readonly argon2Cost?: Argon2Cost;
  readonly randomBytes?: RandomBytes;
};

/** Makes keyset and custody again from a backup and enough shares.
 *  @throws BAD_REQUEST (shares: too few, mistyped, of another backup), KEYSTORE_DAMAGED (the backup file), KEY_EXISTS (there is a keystore), NOT_FOUND */
export async function restoreBackup(options: RestoreOptions): Promise<BackupContent> {
  const { randomBytes = cryptoRandomBytes, newUnlock } = options;
  for (const file of [options.keyset, options.custody])
    if (existsSync(file)) throw new NusecError('KEY_EXISTS', `${file} exists: move it away first`);
  const { head, frames } = openBackup(options.file, head => secretKey(backupKeyOf(head, options.shareTexts)));
  if ('passphrase' in newUnlock) checkNewPassphrase(newUnlock.passphrase);
  else ensureKeyFile(newUnlock.keyFile, randomBytes);
  const fresh = await newKeyset(newUnlock, options.argon2Cost ?? defaultArgon2Cost, randomBytes);
  const temporary = `${options.custody}.restoring`;
  rmSync(temporary, { force: true });
  const custody = openCustody(temporary);
  const entries: KeysetEntry[] = [];
  let bootKeys = 0;
  try {
    for (const frame of frames) {
      const rows = (frame.custody ?? []).map(custodyFromJson);
      await custody.takeOver(rows);
      bootKeys += rows.length;
      entries.push(...(frame.keys ?? []).map(key => keyFromJson(key, secret => wrapKey(fresh.entries, secret))));
    }
  } finally {
    await custody.close();
  }
  renameSync(temporary, options.custody);
  await replaceFile(options.keyset, encodeKeyset(fresh, entries, randomBytes));
  return { backupIdHex: toHex(head.backupId), createdAt: head.createdAt, keys: entries.length, bootKeys };
}

function backupKeyOf(head: BackupHead, texts: readonly string[]): Uint8Array {
  const shares = texts.map(shareFromText);
  const stranger = shares.find(share => share.backupIdHex !== toHex(head.backupId));
  if (stranger) throw new NusecError('BAD_REQUEST', `share ${stranger.index} belongs to backup ${stranger.backupIdHex}`);
  if (shares.length < head.threshold) throw new NusecError('BAD_REQUEST', `${shares.length} shares given, ${head.threshold} are needed`);
  return combineShares(shares);
}

function openNewFile(file: string): number {
  if (existsSync(file)) throw new NusecError('KEY_EXISTS', `${file} exists: name a file that is not there yet`);
  requireFolder(dirname(file));
  return openSync(file, 'wx', secretFileMode);
}

type JsonKey = NonNullable<Frame['keys']>[number];
type JsonCustody = NonNullable<Frame['custody']>[number];

function keyToJson({ publicKey, wrapped: _, ...entry }: KeysetEntry, secret: Uint8Array): JsonKey {
  const json = { ...entry, secret: toBase64url(secret), ...(publicKey && { publicKey: toBase64url(publicKey) }) };
  secret.fill(0);
  return json;
}

function keyFromJson({ publicKey, secret: text, ...entry }: JsonKey, wrap: (secret: Uint8Array) => Uint8Array): KeysetEntry {
  const secret = fromBase64url(text);
  const wrapped = wrap(secret);
  secret.fill(0);
  return { ...entry, wrapped, ...(publicKey !== undefined && { publicKey: fromBase64url(publicKey) }) };
}

const custodyToJson = ({ publicKey, wrapped, ...key }: CustodyKey): JsonCustody => ({
  ...key,
  publicKey: toBase64url(publicKey),
  ...(wrapped && { wrapped: toBase64url(wrapped) }),
});

const custodyFromJson = ({ publicKey, wrapped, ...key }: JsonCustody): CustodyKey => ({
  ...key,
  publicKey: fromBase64url(publicKey),
  ...(wrapped !== undefined && { wrapped: fromBase64url(wrapped) }),
});
