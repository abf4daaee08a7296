import type { SignedMessage } from '../ecKey.ts';
import type { Keystore } from './port.ts';

/** A key that signs more often than its work explains is in the wrong hands (T17): the signature is given, and an alarm is raised.
 *  Boot keys are counted each by its context, and all of one key-encryption key together. */

/** Signatures per minute by the beginning of the key id; the longest that fits counts. `''` is for all others. */
export type SigningLimits = Readonly<Record<string, number>>;
export type SigningAlarm = { readonly keyId: string; readonly signatures: number; readonly limitPerMinute: number };

/** The root signs issuing CAs and trust bundles; an issuing CA and grants keep up with a factory, OTA jobs with the start of a large rollout; a boot key
 *  signs an image now and then. */
export const defaultSigningLimits: SigningLimits = {
  'root/': 30,
  'ica/': 30_000,
  'package/': 1_200,
  'grant/': 6_000,
  'order/': 1_200,
  'ota-job/': 30_000,
  'report/': 1_200,
  'boot/': 60,
  '': 30_000,
};

const windowMs = 60_000;
/** Keys counted at the same time; beyond it the oldest counts are removed. */
const maxCounted = 100_000;

type Window = { readonly sinceMs: number; count: number };

/** The same keystore, watched. @param raise called once a minute and key at most, at the signature that exceeds the limit
 *  @param nowMs a clock that never goes back */
export function watchSigningRates(
  keystore: Keystore,
  limits: SigningLimits,
  raise: (alarm: SigningAlarm) => void,
  nowMs: () => number = () => performance.now(),
): Keystore {
  const windows = new Map<string, Window>();
  const prefixes = Object.keys(limits).toSorted((a, b) => b.length - a.length);
  const limitOf = (keyId: string): number => limits[prefixes.find(prefix => keyId.startsWith(prefix)) ?? ''] ?? Number.POSITIVE_INFINITY;

  const count = (keyId: string): void => {
    const now = nowMs();
    let window = windows.get(keyId);
    if (!window || now - window.sinceMs >= windowMs) {
      window = { sinceMs: now, count: 0 };
      windows.delete(keyId);
      windows.set(keyId, window);
      if (windows.size > maxCounted) windows.delete(windows.keys().next().value as string);
    }
    window.count += 1;
    const limitPerMinute = limitOf(keyId);
    if (window.count === limitPerMinute + 1) raise({ keyId, signatures: window.count, limitPerMinute });
  };

  return Object.freeze({
    ...keystore,
    sign(id: string, message: Uint8Array) {
      count(id);
      return keystore.sign(id, message);
    },
    signProven(id: string, message: Uint8Array, proof: SignedMessage) {
      count(id);
      return keystore.signProven(id, message, proof);
    },
    signWrapped(kekId: string, context: string, wrapped: Uint8Array, digest: Uint8Array) {
      count(kekId);
      count(context);
      return keystore.signWrapped(kekId, context, wrapped, digest);
    },
  });
}
