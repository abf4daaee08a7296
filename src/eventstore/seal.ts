import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';
import type { Edge } from '../merkle/edge.ts';

/** The seal of the log: with every commit a code under a key of the keystore, over all events up to it. A person with the file alone can neither
 *  add an event nor change the newest ones without breaking it. There is one seal, that of the newest commit; for anybody without the key,
 *  signed checkpoints say the same.
 *
 *  seal = HMAC-SHA-256(key, "nusec-log-seal/1" LF size LF the roots of the perfect subtrees, smallest first, each with LF) */

export type Seal = {
  /** Events up to which it was made. */
  readonly size: number;
  /** 64 hex digits. */
  readonly code: string;
};

export type Sealer = {
  /** Of all events up to the edge. */
  seal(edge: Edge): Seal;
  /** Whether the seal is of exactly these events. */
  holds(seal: Seal, edge: Edge): boolean;
};

/** @param key 32 bytes, known to the processes of this project only */
export function createSealer(key: Uint8Array): Sealer {
  const secret = createSecretKey(key);
  const codeOf = (edge: Edge): Buffer => {
    const text = `nusec-log-seal/1\n${edge.size()}\n${edge.peaks().join('\n')}\n`;
    return createHmac('sha256', secret).update(text).digest();
  };
  return {
    seal: edge => ({ size: edge.size(), code: codeOf(edge).toString('hex') }),
    holds({ size, code }, edge) {
      const given = Buffer.from(code, 'hex');
      const right = codeOf(edge);
      return size === edge.size() && given.length === right.length && timingSafeEqual(given, right);
    },
  };
}
