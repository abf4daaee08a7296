import { createCipheriv, createHmac, randomBytes as cryptoRandomBytes, hkdfSync } from 'node:crypto';
import { rmSync } from 'node:fs';
import { concat } from '../bytes.ts';
import { repeatedly } from '../closing.ts';
import { NusecError } from '../errors.ts';
import { type FileLock, lockFile } from '../fileLock.ts';
import { nextAnswer } from '../nextAnswer.ts';
import { createUnwrappedKeys, generateUnder, refuseCustodySalt, rewrapUnder, signUnder } from './custodyKey.ts';
import { replaceFile, temporaryName } from './durableFile.ts';
import { agree, generateEc, signEc } from './ec.ts';
import { checkId, checkIv, ecAlgorithm, keyExists, requireAes, requireGenuine, requireKek, requireP256, wrongUse } from './keyRules.ts';
import { createKeyring, type Keyring, type OpenedKeyset } from './keyring.ts';
import { encodeKeyset, type KeysetKeys, maxKeysetBytes, newKeyset, openKeyset, type RandomBytes } from './keyset.ts';
import type { Keystore } from './port.ts';
import { fileVersion, readSecretFile } from './secretFile.ts';
import { lookingAgain, pullEveryMs, type SharedKeyset } from './sharedKeyset.ts';
import { createSigningThread } from './signingThread.ts';
import { type Argon2Cost, checkNewPassphrase, defaultArgon2Cost, ensureKeyFile, isSaneCost, secretKey, type Unlock } from './unlock.ts';

export type SoftwareKeystoreOptions = {
  /** The keyset (format: keyset.ts), mode 600, in a folder that exists. `{file}.tmp` and `{file}.lock` beside it are the driver's too. */
  readonly file: string;
  readonly unlock: Unlock;
  /** Makes the keyset, and the key file, when they are missing. Off by default: a lost disk must not look like an empty keystore. */
  readonly create?: boolean;
  /** Where servers on several machines share the keyset; the file is the copy. */
  readonly shared?: SharedKeyset | undefined;
  /** Refuse to share the keyset with other processes. */
  readonly alone?: boolean;
  /** Argon2id cost of a new keyset; an existing one carries its own. */
  readonly argon2Cost?: Argon2Cost;
  /** Source of AES keys, salts and IVs (EC keys come from OpenSSL). */
  readonly randomBytes?: RandomBytes;
  /** Source of `createdAt`. */
  readonly now?: () => Date;
};

/** Opens the software keystore: keys sealed in one file, opened by a passphrase or a key file; at work they are KeyObjects in
 *  closures, and no property of what is returned leads to them (RULE-1, T17). Every change is durable before its promise resolves.
 *  Several processes may have one keyset open: a key that one makes or destroys is there, or gone, for the others.
 *  @throws KEYSTORE_MISSING (no keyset or key file, and `create` is off), KEYSTORE_WRONG_PASSPHRASE, KEYSTORE_DAMAGED,
 *  KEYSTORE_PERMISSIONS (readable by others), KEYSTORE_LOCKED (somebody is alone with it), BAD_REQUEST (new passphrase below 12 characters) */
export async function openSoftwareKeystore(options: SoftwareKeystoreOptions): Promise<Keystore> {
  const { file, alone = false, randomBytes = cryptoRandomBytes, now = () => new Date() } = options;
  const lock = lockFile(file, alone ? 'alone' : 'shared');
  try {
    const opened = await lock.change(() => openOrCreate(options, lock, randomBytes));
    const keystore = driver(createKeyring(opened, randomBytes), randomBytes, now, lock.release);
    return options.shared === undefined ? keystore : followShared(keystore, options.shared, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Looks every second what other machines have changed. Looks wait for each other, and one at an object store that is silent takes seconds: those who wait
 *  share the next one. */
function followShared(keystore: Keystore, shared: SharedKeyset, lock: FileLock): Keystore {
  const { ask: pull } = nextAnswer(() => lock.change(() => shared.pull()));
  const pulling = repeatedly(pullEveryMs, pull, () => undefined);
  const { close } = keystore;
  return lookingAgain(
    {
      ...keystore,
      async close() {
        await pulling.close();
        await close();
      },
    },
    pull,
  );
}

async function openOrCreate(options: SoftwareKeystoreOptions, lock: FileLock, randomBytes: RandomBytes): Promise<OpenedKeyset> {
  const { file, unlock, create, argon2Cost, shared } = options;
  const isShared = (await shared?.pull()) ?? true;
  rmSync(temporaryName(file), { force: true });
  const version = fileVersion(file);
  const content = readSecretFile(file, maxKeysetBytes);
  if (content && !isShared)
    throw new NusecError('STATE', `the object store has no keyset yet: nusec log move --data … --object-store … puts ${file} there`);
  if (content) return { file, lock, version, shared, ...(await openKeyset(content, unlock)) };
  if (!create)
    throw new NusecError(
      'KEYSTORE_MISSING',
      `there is no keystore ${file}: make a project (nusec init), or put the keys back (nusec keystore restore)`,
    );
  const keys = await createKeyset(options, argon2Cost ?? defaultArgon2Cost, randomBytes);
  return { file, lock, shared, version: fileVersion(file), keys, entries: [] };
}

async function createKeyset(options: SoftwareKeystoreOptions, cost: Argon2Cost, randomBytes: RandomBytes): Promise<KeysetKeys> {
  const { file, unlock, shared } = options;
  if (!isSaneCost(cost)) throw new NusecError('BAD_REQUEST', 'the argon2 cost is out of range');
  if ('passphrase' in unlock) checkNewPassphrase(unlock.passphrase);
  else ensureKeyFile(unlock.keyFile, randomBytes);
  const keys = await newKeyset(unlock, cost, randomBytes);
  const content = encodeKeyset(keys, [], randomBytes);
  if (shared === undefined) await replaceFile(file, content);
  else if (!(await shared.push(content))) throw new NusecError('STATE', 'another machine has begun this project: nusec join');
  return keys;
}

const aesKeyBytes = 32;

function driver(ring: Keyring, randomBytes: RandomBytes, now: () => Date, release: () => void): Keystore {
  const unwrapped = createUnwrappedKeys();
  const thread = createSigningThread();
  let open = true;
  const opened = (): Keyring => {
    if (!open) throw new NusecError('KEYSTORE_LOCKED', 'the keystore is closed');
    return ring;
  };

  return Object.freeze({
    async generate(id, algorithm) {
      checkNewId(opened(), id);
      const head = { id, algorithm, origin: 'generated', createdAt: now().toISOString() } as const;
      if (algorithm === 'AES-256') return ring.add(head, randomBytes(aesKeyBytes));
      const { publicKey, privateKey } = await generateEc(algorithm);
      return opened().add({ ...head, publicKey: Uint8Array.from(publicKey) }, privateKey);
    },

    async publicKey(id) {
      const { publicKey } = opened().entry(id);
      if (!publicKey) throw wrongUse(id, 'has no public key');
      return publicKey.slice();
    },

    async sign(id, message) {
      const algorithm = ecAlgorithm(opened().entry(id));
      return signEc(algorithm, ring.key(id), message);
    },

    async signProven(id, message, proof) {
      const algorithm = ecAlgorithm(opened().entry(id));
      if (algorithm === 'P-256') return thread.sign({ key: ring.key(id), message, proof });
      requireGenuine(proof);
      return signEc(algorithm, ring.key(id), message);
    },

    async derive(id, peerPoint, kdf, targetId) {
      requireP256(opened().entry(id));
      checkNewId(ring, targetId);
      const head = { id: targetId, algorithm: 'AES-256', origin: 'derived', createdAt: now().toISOString() } as const;
      return ring.add(head, agree(ring.key(id), peerPoint, kdf));
    },

    async mac(id, message) {
      requireAes(opened().entry(id));
      return new Uint8Array(createHmac('sha256', ring.key(id)).update(message).digest());
    },

    async seal(id, kdf, iv, aad, plaintext) {
      requireAes(opened().entry(id));
      refuseCustodySalt(kdf);
      checkIv(iv);
      const contentKey = secretKey(new Uint8Array(hkdfSync('sha256', ring.key(id), kdf.salt, kdf.info, aesKeyBytes)));
      const cipher = createCipheriv('aes-256-gcm', contentKey, iv).setAAD(aad);
      return concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
    },

    async generateWrapped(kekId, context) {
      requireKek(opened().entry(kekId));
      return generateUnder(ring.key(kekId), { kekId, context }, unwrapped);
    },

    async signWrapped(kekId, context, wrapped, digest) {
      requireKek(opened().entry(kekId));
      return signUnder(ring.key(kekId), { kekId, context, wrapped }, digest, unwrapped);
    },

    async rewrap(kekId, context, wrapped, newKekId) {
      requireKek(opened().entry(kekId));
      requireKek(ring.entry(newKekId));
      return rewrapUnder(ring.key(kekId), ring.key(newKekId), context, wrapped);
    },

    list: async () => opened().list(),

    async destroy(id) {
      await opened().remove(id);
      unwrapped.clear();
      thread.forget();
    },

    async health() {
      if (!open) return { ok: false, detail: 'closed' };
      const failure = ring.failure();
      return failure ? { ok: false, detail: failure } : { ok: true, detail: `software, ${ring.list().length} keys` };
    },

    async close() {
      if (!open) return;
      open = false;
      await Promise.all([ring.idle(), thread.close()]);
      unwrapped.clear();
      release();
    },
  } satisfies Keystore);
}

function checkNewId(ring: Keyring, id: string): void {
  checkId(id);
  if (ring.has(id)) throw keyExists(id);
}
