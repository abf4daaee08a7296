import { hash } from 'node:crypto';
import { equalBytes } from '../bytes.ts';
import { rawToDer } from '../ecdsa.ts';
import { digestOf, importKey, spkiOfPoint } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { type FileLock, lockFile } from '../fileLock.ts';
import { refuseCustodySalt } from './custodyKey.ts';
import { checkId, checkIv, ecAlgorithm, keyExists, keyNotFound, requireDigest, requireGenuine, wrongUse } from './keyRules.ts';
import { openTokenClient, type TokenClient, type TokenWatch } from './pkcs11/tokenClient.ts';
import type { KeyInfo, Keystore } from './port.ts';

export type Pkcs11Options = {
  /** The vendor's PKCS#11 library. */
  readonly module: string;
  /** Label of the token; it exists and has a user PIN. */
  readonly label: string;
  /** File of mode 600 with the user PIN. */
  readonly pinFile: string;
  /** `{lock}.lock` is held while the keystore is open: processes that share it make and destroy keys one after the other. Absent: look only,
   *  change nothing. */
  readonly lock?: string;
  /** Refuse to share the token with other processes. */
  readonly alone?: boolean;
  /** Operations the token works on in parallel; tokens allow at least a dozen sessions. */
  readonly sessions?: number;
  readonly now?: () => Date;
  /** `onTrouble`: each time the token, its sessions or its process is lost or hangs, also when the next attempt succeeds, and when the PIN is refused. */
  readonly watch?: TokenWatch;
};

const defaultSessions = 4;
/** How long a list of keys is used before the token is asked again, because other processes may change keys. */
const listAgeMs = 1000;

/** Opens the keystore of a PKCS#11 token (HSM, smart card, SoftHSM). Private and secret keys are made in the token, sensitive and not
 *  extractable; only boot keys leave it, wrapped. What goes through this process: the message's hash, and for `derive` and `seal` what
 *  docs/keystore.md says. A token that went away is found again when it is back. Several processes may have one token open.
 *  @throws KEYSTORE_UNAVAILABLE (no such token), KEYSTORE_WRONG_PASSPHRASE, KEYSTORE_LOCKED (PIN locked, or somebody is alone with it),
 *  KEYSTORE_PERMISSIONS (PIN file), KEYSTORE_DAMAGED (a key of the token could be read out), KEYSTORE_MISSING (no PIN file), BAD_REQUEST (no module) */
export async function openPkcs11Keystore(options: Pkcs11Options): Promise<Keystore> {
  const { module, label, pinFile, sessions = defaultSessions, alone = false, now = () => new Date() } = options;
  const lock = options.lock === undefined ? undefined : lockFile(options.lock, alone ? 'alone' : 'shared');
  try {
    const known = new Map<string, KeyInfo>();
    const client = await openTokenClient({ module, label, pinFile, sessions }, keys => adopt(known, keys, label), options.watch);
    return driver({ client, lock, known, label, now });
  } catch (error) {
    lock?.release();
    throw error;
  }
}

/** A token that comes back has the keys it had; what was made or destroyed while its answer was lost is seen now.
 *  @throws KEYSTORE_UNAVAILABLE when it is another token, which must never sign in the place of the first */
function adopt(known: Map<string, KeyInfo>, keys: readonly KeyInfo[], label: string): void {
  const same = keys.filter(key => known.has(key.id));
  const changed = same.some(key => !equalBytes(key.publicKey ?? new Uint8Array(), known.get(key.id)?.publicKey ?? new Uint8Array()));
  if (changed || (known.size > 0 && same.length === 0))
    throw new NusecError('KEYSTORE_UNAVAILABLE', `the token ${label} has other keys than before`);
  known.clear();
  for (const key of keys) known.set(key.id, key);
}

/** `known`: the keys of the token as they were found last. */
type Parts = {
  readonly client: TokenClient;
  readonly lock: FileLock | undefined;
  readonly known: Map<string, KeyInfo>;
  readonly label: string;
  readonly now: () => Date;
};

function driver({ client, lock, known, label, now }: Parts): Keystore {
  let open = true;
  const requireOpen = (): void => {
    if (!open) throw new NusecError('KEYSTORE_LOCKED', 'the keystore is closed');
  };
  let foundAt = performance.now();
  const find = async (): Promise<void> => {
    adopt(known, await client.call('find'), label);
    foundAt = performance.now();
  };
  /** A key that is not known here may be another process's, made since. */
  const entry = async (id: string): Promise<KeyInfo> => {
    requireOpen();
    if (!known.has(id)) await find();
    const found = known.get(id);
    if (!found) throw keyNotFound(id);
    return found;
  };
  const change = <Result>(work: () => Promise<Result>): Promise<Result> => {
    requireOpen();
    return lock === undefined ? work() : lock.change(work);
  };
  const make = (id: string, making: () => Promise<KeyInfo>): Promise<KeyInfo> =>
    change(async () => {
      checkId(id);
      await find();
      if (known.has(id)) throw keyExists(id);
      const info = await making();
      known.set(info.id, info);
      return copyOf(info);
    });

  const signHashed = async (id: string, message: Uint8Array): Promise<Uint8Array> => {
    const algorithm = ecAlgorithm(await entry(id));
    return rawToDer(await client.call('sign', id, hash(digestOf[algorithm], message, 'buffer')), algorithm);
  };
  return Object.freeze({
    async generate(id, algorithm) {
      return make(id, () => client.call('generate', id, algorithm, now().toISOString()));
    },

    async publicKey(id) {
      const { publicKey } = await entry(id);
      if (!publicKey) throw wrongUse(id, 'has no public key');
      return Uint8Array.from(publicKey);
    },

    sign: signHashed,

    async signProven(id, message, proof) {
      ecAlgorithm(await entry(id));
      requireGenuine(proof);
      return signHashed(id, message);
    },

    async derive(id, peerPoint, kdf, targetId) {
      await entry(id);
      importKey(spkiOfPoint(peerPoint));
      return make(targetId, () => client.call('derive', id, peerPoint, kdf, targetId, now().toISOString()));
    },

    async mac(id, message) {
      await entry(id);
      return client.call('mac', id, message);
    },

    async seal(id, kdf, iv, aad, plaintext) {
      await entry(id);
      refuseCustodySalt(kdf);
      checkIv(iv);
      return client.call('seal', id, kdf, iv, aad, plaintext);
    },

    async generateWrapped(kekId, context) {
      await entry(kekId);
      return client.call('generateWrapped', kekId, context);
    },

    async signWrapped(kekId, context, wrapped, digest) {
      await entry(kekId);
      requireDigest(digest);
      return rawToDer(await client.call('signWrapped', kekId, context, wrapped, digest));
    },

    async rewrap(kekId, context, wrapped, newKekId) {
      await entry(kekId);
      await entry(newKekId);
      return client.call('rewrap', kekId, context, wrapped, newKekId);
    },

    async list() {
      requireOpen();
      // Without the token: the keys that it had.
      if (performance.now() - foundAt > listAgeMs) await find().catch(() => undefined);
      return Array.from(known.values(), copyOf);
    },

    async destroy(id) {
      await change(async () => {
        await entry(id);
        await client.call('destroy', id);
        known.delete(id);
      });
    },

    async health() {
      if (!open) return { ok: false, detail: 'closed' };
      try {
        await client.call('check');
        return { ok: true, detail: `token ${label}, ${known.size} keys` };
      } catch (error) {
        return { ok: false, detail: error instanceof Error ? error.message : 'unknown' };
      }
    },

    async close() {
      if (!open) return;
      open = false;
      await client.close();
      lock?.release();
    },
  } satisfies Keystore);
}

/** Callers cannot change what the keystore holds. */
const copyOf = (info: KeyInfo): KeyInfo => (info.publicKey ? { ...info, publicKey: Uint8Array.from(info.publicKey) } : { ...info });
