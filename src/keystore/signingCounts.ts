import type { SignedMessage } from '../ecKey.ts';
import type { Keystore } from './port.ts';

/** Counts what a keystore signs, for figures. */

export type SigningCount = { signatures: number; failures: number; spentMs: number };
/** By the beginning of the key id: `root`, `ica`, `boot` … */
export type SigningCounts = ReadonlyMap<string, Readonly<SigningCount>>;

/** @returns the same keystore, and what it has signed since */
export function countSignatures(keystore: Keystore): { readonly keystore: Keystore; readonly counts: SigningCounts } {
  const counts = new Map<string, SigningCount>();
  const counted = async (keyId: string, sign: () => Promise<Uint8Array>): Promise<Uint8Array> => {
    const kind = keyId.slice(0, Math.max(0, keyId.indexOf('/'))) || 'other';
    const count = counts.get(kind) ?? { signatures: 0, failures: 0, spentMs: 0 };
    counts.set(kind, count);
    const startMs = performance.now();
    try {
      const signature = await sign();
      count.signatures += 1;
      return signature;
    } catch (error) {
      count.failures += 1;
      throw error;
    } finally {
      count.spentMs += performance.now() - startMs;
    }
  };
  return {
    counts,
    keystore: Object.freeze({
      ...keystore,
      sign: (id: string, message: Uint8Array) => counted(id, () => keystore.sign(id, message)),
      signProven: (id: string, message: Uint8Array, proof: SignedMessage) => counted(id, () => keystore.signProven(id, message, proof)),
      signWrapped: (kekId: string, context: string, wrapped: Uint8Array, digest: Uint8Array) =>
        counted('boot/', () => keystore.signWrapped(kekId, context, wrapped, digest)),
    }),
  };
}
