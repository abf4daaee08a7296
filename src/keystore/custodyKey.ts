import { hkdfSync, type KeyObject } from 'node:crypto';
import { equalBytes, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { type Lru, lru } from '../lru.ts';
import { generateEc, importPrivateKey } from './ec.ts';
import { unwrapKey, wrapKey } from './kwp.ts';
import { scalarIn } from './p256.ts';
import type { Kdf, WrappedKey } from './port.ts';
import { scalarOf, signDigest } from './signDigest.ts';
import { secretKey } from './unlock.ts';

/** Keys that live outside the keyset, wrapped: generated, handed out and used under a key-encryption key (KEK).
 *
 *  Every context (the boot key's id) has its own wrapping key, HKDF-SHA-256(KEK, salt, context): a wrapped key moved to
 *  another device's row does not open (AES-KWP alone takes no associated data). */

/** Fills the block of SHA-256: HMAC pads a shorter key with zeros, and a salt with zeros added would then be the same salt. */
const custodySalt = utf8('NuSEC custody v1'.padEnd(64, '.'));
/** Unwrapped keys kept ready: about 2 KiB each. */
const maxUnwrappedKeys = 4096;

/** By key-encryption key and context, which has no control characters. */
type UnwrappedKeys = Lru<{ readonly wrapped: Uint8Array; readonly scalar: KeyObject }>;
export const createUnwrappedKeys = (): UnwrappedKeys => lru(maxUnwrappedKeys);
const nameOf = (kekId: string, context: string): string => `${kekId}\n${context}`;

/** @throws KEY_REFUSED when a caller asks for AES-GCM under what would be a wrapping key: those serve key wrapping only (T17) */
export function refuseCustodySalt(kdf: Kdf): void {
  if (Buffer.from(custodySalt).equals(kdf.salt)) throw new NusecError('KEY_REFUSED', 'this salt is kept for key wrapping');
}

/** The new key is kept ready: mostly it signs an image in the same moment. */
export async function generateUnder(
  kek: KeyObject,
  { kekId, context }: Omit<Custodial, 'wrapped'>,
  unwrapped: UnwrappedKeys,
): Promise<WrappedKey> {
  const { publicKey, privateKey } = await generateEc('P-256');
  const wrapped = wrapKey(wrappingKey(kek, context), privateKey);
  const scalar = scalarIn(privateKey);
  privateKey.fill(0);
  if (scalar !== undefined) unwrapped.set(nameOf(kekId, context), { wrapped: Uint8Array.from(wrapped), scalar });
  return { publicKey: new Uint8Array(publicKey), wrapped };
}

/** The same key under another KEK, in the same context. @throws KEY_REFUSED when it does not open */
export function rewrapUnder(kek: KeyObject, newKek: KeyObject, context: string, wrapped: Uint8Array): Uint8Array {
  const secret = unwrapKey(wrappingKey(kek, context), wrapped);
  try {
    return wrapKey(wrappingKey(newKek, context), secret);
  } finally {
    secret.fill(0);
  }
}

/** A boot key in the clear, to move it into a token. @returns PKCS#8, wiped by the caller @throws KEY_REFUSED when it does not open */
export const unwrapUnder = (kek: KeyObject, context: string, wrapped: Uint8Array): Uint8Array =>
  unwrapKey(wrappingKey(kek, context), wrapped);

/** A wrapped key with what it was wrapped under. */
type Custodial = { readonly kekId: string; readonly context: string; readonly wrapped: Uint8Array };

/** @throws KEY_REFUSED when the wrapped key does not open under this KEK and context */
export function signUnder(kek: KeyObject, custodial: Custodial, digest: Uint8Array, unwrapped: UnwrappedKeys): Uint8Array {
  const { kekId, context, wrapped } = custodial;
  const name = nameOf(kekId, context);
  const known = unwrapped.get(name);
  if (known !== undefined && equalBytes(known.wrapped, wrapped)) return signDigest(known.scalar, digest);
  const scalar = scalarOfWrapped(kek, context, wrapped);
  unwrapped.set(name, { wrapped: Uint8Array.from(wrapped), scalar });
  return signDigest(scalar, digest);
}

function scalarOfWrapped(kek: KeyObject, context: string, wrapped: Uint8Array): KeyObject {
  const secret = unwrapKey(wrappingKey(kek, context), wrapped);
  try {
    return scalarIn(secret) ?? scalarOf(importPrivateKey(secret));
  } finally {
    secret.fill(0);
  }
}

const wrappingKey = (kek: KeyObject, context: string): KeyObject =>
  secretKey(new Uint8Array(hkdfSync('sha256', kek, custodySalt, utf8(context), 32)));
