import { dayMs } from '../times.ts';
import type { IssuerUse } from './issuerScope.ts';

/** How long certificates live. An authority lives as long as the longest of what it issues, and the time in which it issues on top; so nothing is
 *  cut short by its issuer. */

/** In days; `endless` is until the end of the year 9999, for what has no end (IEEE 802.1AR §8.3, RFC 5280 §4.1.2.5). */
export type Lifetime = number | 'endless';

const endlessMs = Date.parse('9999-12-31T23:59:59Z');

export const leafLifetimes = {
  /** IDevID: as long as the hardware. */
  device: 'endless',
  ldevid: 90,
  programmer: 730,
  gateway: 365,
  server: 365,
  ocspResponder: 90,
  /** Of the log's key: evidence is shown after many years. */
  log: 'endless',
} as const satisfies Record<string, Lifetime>;
export type LeafProfile = keyof typeof leafLifetimes;

/** An issuing CA issues for so long before the next generation is needed. */
const issuingWindowDays = 3652;
/** What is issued when an issuing CA is too short for it, as those from before were: while more than this part of its own life is left. */
const reservedPart = 3;

export function icaLifetime(use: IssuerUse): Lifetime {
  const leaf = leafLifetimes[use];
  return leaf === 'endless' ? leaf : issuingWindowDays + leaf;
}

/** The last millisecond that counts: notAfter belongs to the life (RFC 5280 §4.1.2.5). */
export const endOfLife = (startMs: number, lifetime: Lifetime): number =>
  lifetime === 'endless' ? endlessMs : startMs + lifetime * dayMs - 1000;

/** Until when an issuing CA issues leaves of this profile: as long as they have their whole life before them. One that was made too short for that
 *  issues, cut short, until the last third of its own life. @returns milliseconds since 1970 */
export function issuingEndsMs(
  { notBefore, notAfter }: { readonly notBefore: string; readonly notAfter: string },
  profile: LeafProfile,
): number {
  const [from, to] = [Date.parse(notBefore), Date.parse(notAfter)];
  const leaf = leafLifetimes[profile];
  const third = (to - from) / reservedPart;
  return to - (leaf === 'endless' ? third : Math.min(leaf * dayMs, third));
}
