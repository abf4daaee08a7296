import { createPrivateKey, type KeyObject } from 'node:crypto';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { equalBytes, fromBase64url } from '../bytes.ts';
import { whileOpen } from '../closing.ts';
import { NusecError } from '../errors.ts';
import { lockFile } from '../fileLock.ts';
import { bootKekGeneration } from './bootKeys.ts';
import { type Custody, type CustodyKey, openCustody } from './custody.ts';
import { unwrapUnder } from './custodyKey.ts';
import type { KeysetEntry, KeysetKeys } from './keyset.ts';
import { unwrapKey } from './kwp.ts';
import { openTokenClient, type TokenClient } from './pkcs11/tokenClient.ts';
import type { Pkcs11Options } from './pkcs11.ts';
import type { KeyInfo } from './port.ts';
import { pages, readKeyset } from './rotation.ts';
import { secretKey, type Unlock } from './unlock.ts';

/** From the software keystore into a token. Pairs and agreed keys move as they are; key-encryption keys are made again in the token and every
 *  boot key is wrapped under them, into a custody of its own. The software keystore stays as it was. Cut off, it is run again. */

export type MigrateOptions = {
  readonly keyset: string;
  readonly unlock: Unlock;
  readonly custody: string;
  readonly token: Pkcs11Options & { readonly lock: string };
  /** The custody for the token; must not exist. */
  readonly tokenCustody: string;
};

export type Migration = { readonly keys: number; readonly newKeks: readonly string[]; readonly bootKeys: number };

const sessions = 4;

/** @throws KEY_EXISTS (the token has another key of an id, or the custody is there), KEYSTORE_LOCKED while a server runs, and what opening either throws */
export async function migrateToToken(options: MigrateOptions): Promise<Migration> {
  if (existsSync(options.tokenCustody)) throw new NusecError('KEY_EXISTS', `${options.tokenCustody} exists: move it away first`);
  return whileOpen(async own => {
    own('keyset lock', { close: lockFile(options.keyset, 'alone').release });
    own('token lock', { close: lockFile(options.token.lock, 'alone').release });
    const { keys, entries } = await readKeyset(options.keyset, options.unlock);
    const { module, label, pinFile } = options.token;
    const present = new Map<string, KeyInfo>();
    const accept = (found: readonly KeyInfo[]): void => found.forEach(key => void present.set(key.id, key));
    const client = own('token', await openTokenClient({ module, label, pinFile, sessions }, accept));
    for (const entry of entries) await moveKey(client, present, entry, keys);
    const keks = new Map(entries.filter(isKek).map(entry => [entry.id, secretKey(unwrapKey(keys.entries, entry.wrapped))]));
    const bootKeys = await moveCustody(client, keks, options);
    return { keys: entries.length - keks.size, newKeks: [...keks.keys()], bootKeys };
  });
}

const isKek = (entry: KeysetEntry): boolean => entry.algorithm === 'AES-256' && entry.origin === 'generated';

async function moveKey(client: TokenClient, present: ReadonlyMap<string, KeyInfo>, entry: KeysetEntry, keys: KeysetKeys): Promise<void> {
  const known = present.get(entry.id);
  if (known) return checkSame(entry, known);
  const { id, algorithm, createdAt, publicKey } = entry;
  if (isKek(entry)) return void (await client.call('generate', id, algorithm, createdAt));
  const secret = unwrapKey(keys.entries, entry.wrapped);
  const value = publicKey ? scalarOf(secret) : secret;
  try {
    if (publicKey) await client.call('addPair', { id, algorithm, createdAt, publicKey }, value);
    else await client.call('addAgreed', id, value, createdAt);
  } finally {
    secret.fill(0);
    value.fill(0);
  }
}

/** A migration that was cut off has left keys behind; anything else of the same id is not ours to use. */
function checkSame(entry: KeysetEntry, known: KeyInfo): void {
  const same = known.algorithm === entry.algorithm && equalBytes(known.publicKey ?? new Uint8Array(), entry.publicKey ?? new Uint8Array());
  if (!same || (bootKekGeneration(entry.id) === undefined && !entry.publicKey && known.createdAt !== entry.createdAt))
    throw new NusecError('KEY_EXISTS', `the token has another key ${entry.id}`);
}

async function moveCustody(client: TokenClient, keks: ReadonlyMap<string, KeyObject>, options: MigrateOptions): Promise<number> {
  const temporary = `${options.tokenCustody}.migrating`;
  rmSync(temporary, { force: true });
  const [from, to] = [openCustody(options.custody), openCustody(temporary)];
  let bootKeys = 0;
  try {
    for await (const page of pages(from)) {
      await to.takeOver(await Promise.all(page.map(key => moveBootKey(client, keks, key))));
      bootKeys += page.length;
    }
  } finally {
    await Promise.all([from, to].map((custody: Custody) => custody.close()));
  }
  renameSync(temporary, options.tokenCustody);
  return bootKeys;
}

async function moveBootKey(client: TokenClient, keks: ReadonlyMap<string, KeyObject>, key: CustodyKey): Promise<CustodyKey> {
  if (!key.wrapped) return key;
  const kek = keks.get(key.kekId);
  if (!kek) throw new NusecError('KEY_NOT_FOUND', `there is no key ${key.kekId} for boot key ${key.keyId}`);
  const scalar = scalarOf(unwrapUnder(kek, key.keyId, key.wrapped));
  try {
    return { ...key, wrapped: await client.call('wrapBorn', key.kekId, key.keyId, scalar) };
  } finally {
    scalar.fill(0);
  }
}

/** @param pkcs8 wiped here @returns the private number, padded to the length of the curve */
function scalarOf(pkcs8: Uint8Array): Uint8Array {
  const key = createPrivateKey({ key: Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.length), format: 'der', type: 'pkcs8' });
  pkcs8.fill(0);
  return fromBase64url(key.export({ format: 'jwk' }).d ?? '');
}
