import { NusecError } from '../../src/errors.ts';

/** The time of a machine whose own clock counts for nothing: the server reports it over a connection that is proven by the server's key. The machine
 *  then judges the server's certificate by that time, and the time by what it knows for certain: time never goes back. */
export type ServerTime = {
  /** Milliseconds since 1970; undefined until a server has reported it. */
  readonly nowMs: () => number | undefined;
  /** @param provenMs something has happened then for certain, such as the signing of a trust bundle
   *  @throws NusecError SERVER_UNREACHABLE: the time lies before it, or before one that was learned */
  readonly learn: (toldMs: number, provenMs: number) => void;
  /** The server is of an earlier version and reports none: the machine's clock counts, but not before what is known. Nothing of it is kept, as it may be
   *  years ahead. @returns the time that counts now */
  readonly assume: (clockMs: number, provenMs: number) => number;
  /** The server is judged by it in vain: the time between may have been longer than this machine was awake. */
  readonly forget: () => void;
};

/** Servers may differ by so much, and one may be set back by so much. */
const toleranceMs = 24 * 3_600_000;

/** @param newestMs the newest time that was learned, also before a restart @param keep called with each time that is learned */
export function createServerTime(newestMs: () => number, keep: (toldMs: number) => void): ServerTime {
  let known: { readonly toldMs: number; readonly atMs: number } | undefined;
  return {
    nowMs: () => known && known.toldMs + (performance.now() - known.atMs),
    learn: (toldMs, provenMs) => {
      if (toldMs < Math.max(newestMs(), provenMs) - toleranceMs)
        throw new NusecError('SERVER_UNREACHABLE', 'the time of the server lies in the past');
      known = { toldMs, atMs: performance.now() };
      keep(toldMs);
    },
    assume: (clockMs, provenMs) => {
      known = { toldMs: Math.max(clockMs, newestMs(), provenMs), atMs: performance.now() };
      return known.toldMs;
    },
    forget: () => {
      known = undefined;
    },
  };
}
