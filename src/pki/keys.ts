import { hash } from 'node:crypto';
import { type Curve, pointOf } from '../ecKey.ts';
import { oid, sequence } from './derWriter.ts';
import { oids } from './oids.ts';

/** What X.509 says of elliptic-curve keys. */

/** AlgorithmIdentifier of a signature by such a key; parameters absent (RFC 5758 §3.2). */
export const signatureAlgorithms: Readonly<Record<Curve, Uint8Array>> = {
  'P-256': sequence(oid(oids.ecdsaSha256)),
  'P-384': sequence(oid(oids.ecdsaSha384)),
};

/** Key identifier: leftmost 160 bits of the SHA-256 of the key bits (RFC 7093 §2 method 1). @returns 20 bytes */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  return hash('sha256', pointOf(spki), 'buffer').subarray(0, 20);
}
