/** What a KurrentDB server says about its own disk: how long it took to have on it what it was given, its log and the mark of its end, before it acknowledged
 *  that (its histogram `writer-flush`, which it keeps with the option `EnableHistograms`, since it started). */

/** Milliseconds, and how many flushes took at most that, ascending. */
export type Flushes = readonly (readonly [ms: number, count: number])[];

/** @param url address of one server without TLS @returns undefined when it does not keep the histogram, or cannot be asked */
export async function readFlushes(url: string): Promise<Flushes | undefined> {
  const { host, searchParams } = new URL(url);
  if (searchParams.get('tls') !== 'false') return undefined;
  const answer = await fetch(`http://${host}/histogram/writer-flush`).catch(() => undefined);
  return answer?.ok === true ? parseFlushes(await answer.text()) : undefined;
}

/** Rows of `value percentile count 1/(1-percentile)`; those of comments and of the heading are none. */
function parseFlushes(text: string): Flushes {
  const rows = text.split('\n').map(line => /^\s*([\d.]+)\s+[\d.]+\s+(\d+)\s/.exec(line));
  return rows.flatMap(row => (row === null ? [] : [[Number(row[1]), Number(row[2])] as const]));
}

/** The time that a share of the flushes between two looks did not exceed. The rows are some of all values: between two of them it is a straight line. */
export function shareBetween(before: Flushes, after: Flushes, share: number): number {
  const values = [...new Set([...before, ...after].map(([ms]) => ms))].toSorted((a, b) => a - b);
  const total = countUpTo(after, Number.POSITIVE_INFINITY) - countUpTo(before, Number.POSITIVE_INFINITY);
  return values.find(ms => countUpTo(after, ms) - countUpTo(before, ms) >= total * share) ?? Number.NaN;
}

function countUpTo(flushes: Flushes, limitMs: number): number {
  let [lastMs, lastCount] = [0, 0];
  for (const [ms, count] of flushes) {
    if (ms > limitMs) return lastCount + ((count - lastCount) * (limitMs - lastMs)) / (ms - lastMs);
    [lastMs, lastCount] = [ms, count];
  }
  return lastCount;
}
