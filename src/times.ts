/** Spans of time that several folders reckon with, in milliseconds. */
export const minuteMs = 60_000;
export const hourMs = 60 * minuteMs;
export const dayMs = 24 * hourMs;

/** Whether the last third of a certificate's life has begun: that is when it is renewed. @param now milliseconds since 1970 */
export function isInLastThird({ notBefore, notAfter }: { readonly notBefore: string; readonly notAfter: string }, now: number): boolean {
  const [from, to] = [Date.parse(notBefore), Date.parse(notAfter)];
  return now >= to - (to - from) / 3;
}
