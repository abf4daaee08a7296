import { verify } from 'node:crypto';
import { equalBytes, toHex, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { curveOf, importKey } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import type { Custody, CustodyKey } from './custody.ts';
import { keyNotFound } from './keyRules.ts';
import type { Keystore } from './port.ts';

/** Per-device boot keys (R18–R21, R37–R39): born in the keystore, kept wrapped in custody, unwrapped by the keystore to sign. */
export type BootKeys = {
  /** The public key that goes into the device's OTP: made at the first call, the same at every later one, also when several call in parallel (I5).
   *  @returns SubjectPublicKeyInfo, 91 bytes
   *  @throws KEY_REFUSED (destroyed: a device that returns to service gets a new OBJ_ID), KEYSTORE_DAMAGED (the stored public key is not that of the private one,
   *  or the key does not open) */
  ensure(keyId: string): Promise<Uint8Array>;
  /** ECDSA P-256 over `digest`, 32 bytes: the image hash. @returns DER {r, s} @throws KEY_NOT_FOUND, KEY_REFUSED (destroyed),
   *  KEYSTORE_DAMAGED (it does not open: changed, or of another keystore) */
  sign(keyId: string, digest: Uint8Array): Promise<Uint8Array>;
  /** Erases the private half; the public half stays on record. @throws KEY_NOT_FOUND */
  destroy(keyId: string): Promise<void>;
};

/** @param uid 16 bytes  @param objId registration id, 16 bytes  @param slot what the key starts, e.g. `bl2` or `bl3` */
export const bootKeyId = (uid: Uint8Array, objId: Uint8Array, slot: string): string => `boot/${toHex(uid)}/${toHex(objId)}/${slot}`;

const proofLabel = 'NuSEC boot key proof v1';

const kekPrefix = 'kek/boot/';
export const bootKekId = (generation: number): string => `${kekPrefix}${generation}`;

/** Generation of a key-encryption key of boot keys, or undefined when it is another key. */
export function bootKekGeneration(id: string): number | undefined {
  const generation = id.startsWith(kekPrefix) ? Number(id.slice(kekPrefix.length)) : Number.NaN;
  return Number.isInteger(generation) && generation > 0 ? generation : undefined;
}

/** The key-encryption key under which new boot keys are wrapped: that of the highest generation. @throws KEY_NOT_FOUND before the ceremony */
export async function newestBootKek(keystore: Keystore): Promise<string> {
  const generations = (await keystore.list()).map(key => bootKekGeneration(key.id) ?? 0);
  const newest = Math.max(0, ...generations);
  if (newest === 0) throw keyNotFound(bootKekId(1));
  return bootKekId(newest);
}

/** @param newestKek id of the AES-256 key, generated in `keystore`, for new boot keys; those wrapped under an earlier one keep working while that one is there */
export function createBootKeys(
  keystore: Keystore,
  custody: Custody,
  newestKek: () => Promise<string>,
  now: () => Date = () => new Date(),
): BootKeys {
  const underway = new Map<string, Promise<Uint8Array>>();

  /** @returns the public key that was made, and the key that is stored: another's if that was faster */
  const generate = async (keyId: string): Promise<{ readonly made: Uint8Array; readonly stored: CustodyKey }> => {
    const kekId = await newestKek();
    const { publicKey, wrapped } = await keystore.generateWrapped(kekId, keyId);
    const stored = await custody.put({ keyId, kekId, publicKey, wrapped, createdAt: now().toISOString() });
    return { made: publicKey, stored };
  };

  const signWith = (key: CustodyKey, digest: Uint8Array): Promise<Uint8Array> => {
    const wrapped = heldBytes(key);
    return keystore.signWrapped(key.kekId, key.keyId, wrapped, digest).catch(cause => {
      throw notOpened(key, cause);
    });
  };

  /** A person who can write to the database could put their own public key in the row, and the factory would burn it: so it is checked against the private half. */
  const prove = async (key: CustodyKey): Promise<Uint8Array> => {
    const message = utf8(`${proofLabel} ${key.keyId}`);
    const signature = await signWith(key, sha256(message));
    if (!verifies(key.publicKey, message, signature))
      throw new NusecError('KEYSTORE_DAMAGED', `the public key of ${key.keyId} was changed`);
    return key.publicKey;
  };

  /** A key that was made here a moment ago needs no proof: what the keystore gave is what is stored. */
  const ensureOnce = async (keyId: string): Promise<Uint8Array> => {
    const known = await custody.get(keyId);
    if (known !== undefined) {
      await custody.settled();
      return prove(known);
    }
    const { made, stored } = await generate(keyId);
    return equalBytes(made, stored.publicKey) ? made : prove(stored);
  };

  return {
    ensure(keyId) {
      const running = underway.get(keyId);
      if (running) return running;
      const started = ensureOnce(keyId).finally(() => underway.delete(keyId));
      underway.set(keyId, started);
      return started;
    },
    async sign(keyId, digest) {
      const key = await custody.get(keyId);
      if (!key) throw new NusecError('KEY_NOT_FOUND', `there is no key ${keyId}`);
      return signWith(key, digest);
    },
    destroy: keyId => custody.destroy(keyId, now().toISOString()),
  };
}

/** A key of ours that does not open is damage here: nobody who asks for its signature is to blame, and no chip is lost for it. */
const notOpened = ({ keyId, kekId }: CustodyKey, cause: unknown): unknown =>
  cause instanceof NusecError && cause.code === 'KEY_REFUSED'
    ? new NusecError('KEYSTORE_DAMAGED', `boot key ${keyId} does not open under ${kekId}`, { cause })
    : cause;

function heldBytes({ keyId, wrapped }: CustodyKey): Uint8Array {
  if (!wrapped) throw new NusecError('KEY_REFUSED', `key ${keyId} was destroyed`);
  return wrapped;
}

function verifies(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  return curveOf(spki) === 'P-256' && verify('sha256', message, importKey(spki), signature);
}
