import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { derToRaw } from '../../src/ecdsa.ts';
import { NusecError } from '../../src/errors.ts';
import type { Decryption } from '../../src/ota/decrypt.ts';
import { replaceFile } from '../link/replaceFile.ts';

/** KeyStore of the virtual chip: P-256 keys that are born here and never leave (RULE-2, R8, R74). There is no way to read a private key:
 *  the caller gets signatures and a TLS context that holds the key on its own. */
export type KeyStore = {
  /** Makes a key and stores it before its public half is given out. @throws NusecError KEY_EXISTS when the slot has one */
  readonly generate: (slot: number) => Uint8Array;
  /** Uncompressed point, 65 bytes; undefined while the slot is empty. */
  readonly publicKey: (slot: number) => Uint8Array | undefined;
  /** ECDSA over a hash of the message, SHA-256 when not given. @returns r ‖ s, 64 bytes @throws NusecError KEY_NOT_FOUND */
  readonly sign: (slot: number, message: Uint8Array, hash?: 'sha256' | 'sha384') => Promise<Uint8Array>;
  /** For the boot loader alone: opens content keys that were wrapped for this key. @returns undefined while the slot is empty */
  readonly decryption: (slot: number) => Decryption | undefined;
  /** For mutual TLS with this key. @param tls PEM: own chain, leaf first; trusted root @throws NusecError KEY_NOT_FOUND */
  readonly secureContext: (slot: number, tls: { readonly cert: string; readonly ca: string }) => SecureContext;
  /** Erases one key permanently; not the authentication key. An empty slot is left as it is. */
  readonly discard: (slot: number) => void;
  /** Moves the key of one slot into another slot, whose key is erased permanently, in one write. @throws NusecError KEY_NOT_FOUND */
  readonly replace: (slot: number, by: number) => void;
  /** Erases all keys permanently. */
  readonly erase: () => void;
};

/** Slot of the authentication key (AUTH), which the device certificate is for. */
export const authKeySlot = 0;
/** Slot of the key that images are encrypted for; it stays for the life of the chip, as the images in flash need it. */
export const encryptionKeySlot = 4;
/** Slot of the AUTH key of the next generation until it takes over (nextGeneration.ts); 1 and 2 are of operational identities. */
export const nextAuthKeySlot = 3;

/** Where the hardware would keep keys: sealed off, readable by the chip only. */
export type KeyVault = { readonly load: () => Uint8Array | undefined; readonly save: (content: Uint8Array) => void };

/** One file, mode 600, replaced as a whole. */
export const fileVault = (path: string): KeyVault => ({
  load: () => (existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined),
  save: content => replaceFile(path, content),
});

/** @throws NusecError KEYSTORE_DAMAGED when the vault holds something else */
export function openKeyStore(vault: KeyVault): KeyStore {
  const keys = readKeys(vault.load());
  const need = (slot: number): KeyObject => {
    const key = keys.get(slot);
    if (!key) throw new NusecError('KEY_NOT_FOUND', `no key in slot ${slot}`);
    return key;
  };
  return {
    generate: slot => {
      if (keys.has(slot)) throw new NusecError('KEY_EXISTS', `slot ${slot} has a key`);
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      vault.save(writeKeys(new Map([...keys, [slot, privateKey]])));
      keys.set(slot, privateKey);
      return pointOf(privateKey);
    },
    publicKey: slot => {
      const key = keys.get(slot);
      return key && pointOf(key);
    },
    sign: async (slot, message, hash = 'sha256') => signRaw(need(slot), message, hash),
    decryption: slot => {
      const privateKey = keys.get(slot);
      return privateKey && { curve: 'P-256', privateKey };
    },
    secureContext: (slot, { cert, ca }) => {
      const key = need(slot).export({ type: 'pkcs8', format: 'pem' });
      return createSecureContext({ key, cert, ca, minVersion: 'TLSv1.3' });
    },
    discard: slot => {
      if (slot === authKeySlot) throw new NusecError('KEY_REFUSED', 'the authentication key stays');
      if (!keys.has(slot)) return;
      vault.save(writeKeys(new Map([...keys].filter(([each]) => each !== slot))));
      keys.delete(slot);
    },
    replace: (slot, by) => {
      const next = new Map([...keys, [slot, need(by)] as const].filter(([each]) => each !== by));
      vault.save(writeKeys(next));
      keys.delete(by);
      keys.set(slot, next.get(slot) as KeyObject);
    },
    erase: () => {
      vault.save(writeKeys(new Map()));
      keys.clear();
    },
  };
}

const pointBytes = 65;
const coordinateBytes = 32;

function pointOf(key: KeyObject): Uint8Array {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return new Uint8Array(spki.subarray(spki.length - pointBytes));
}

function signRaw(key: KeyObject, message: Uint8Array, hash: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    sign(hash, message, key, (error, der) => {
      const raw = error ? undefined : derToRaw(new Uint8Array(der), coordinateBytes);
      if (raw) resolve(raw);
      else reject(error ?? new NusecError('INTERNAL', 'no signature'));
    });
  });
}

function writeKeys(keys: ReadonlyMap<number, KeyObject>): Uint8Array {
  const entries = [...keys].map(([slot, key]) => [slot, key.export({ type: 'pkcs8', format: 'der' }).toString('base64url')]);
  return Buffer.from(JSON.stringify({ version: 1, keys: Object.fromEntries(entries) }));
}

function readKeys(content: Uint8Array | undefined): Map<number, KeyObject> {
  if (!content) return new Map();
  try {
    const { keys } = JSON.parse(new TextDecoder().decode(content)) as { keys: Record<string, string> };
    return new Map(Object.entries(keys).map(([slot, der]) => [Number(slot), importKey(der)]));
  } catch {
    throw new NusecError('KEYSTORE_DAMAGED', 'the KeyStore of the chip is damaged');
  }
}

const importKey = (der: string): KeyObject => createPrivateKey({ key: Buffer.from(der, 'base64url'), format: 'der', type: 'pkcs8' });
