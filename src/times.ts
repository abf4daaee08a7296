/** Whole seconds, as certificates, signed messages and protocols count them: a span, or since 1970-01-01T00:00:00Z where the name says at what time
 *  something is (`issuedAtSeconds`, `nowSeconds`). */
export type Seconds = number;

/** @param ms milliseconds, of a span or since 1970 */
export const secondsOf = (ms: number): Seconds => Math.floor(ms / 1000);

/** Spans of time that several folders reckon with, in milliseconds. */
export const minuteMs = 60_000;
export const hourMs = 60 * minuteMs;
export const dayMs = 24 * hourMs;
export const daySeconds: Seconds = 86_400;

/** Whether two times are nearer than that, whichever comes first: the clock may have been set back in between, and what pauses since then would
 *  pause until it has caught up. */
export const areWithin = (ms: number, oneMs: number, otherMs: number): boolean => Math.abs(oneMs - otherMs) < ms;

/** Whether the last third of a certificate's life has begun: that is when it is renewed. @param now milliseconds since 1970 */
export function isInLastThird({ notBefore, notAfter }: { readonly notBefore: string; readonly notAfter: string }, now: number): boolean {
  const [from, to] = [Date.parse(notBefore), Date.parse(notAfter)];
  return now >= to - (to - from) / 3;
}
