/** The streams of the double (double.ts): expected revisions, repetitions, soft deletion and maxCount as the server has them. */

export type Proposed = { readonly id: string; readonly metadata: ReadonlyMap<string, string>; readonly data: Uint8Array };
export type Stored = Proposed & { readonly stream: string; readonly revision: number; readonly position: number };
type Expected = 'any' | 'none' | 'exists' | number;

type Stream = {
  readonly events: Stored[];
  /** Revision of the first event that can still be read. */
  begin: number;
  deleted: boolean;
  maxCount: number;
  readonly followers: Set<() => void>;
};

export type AppendAnswer =
  | { readonly ok: true; readonly revision: number; readonly position: number }
  | { readonly ok: false; readonly why: 'revision'; readonly actual: number }
  | { readonly ok: false; readonly why: 'too large'; readonly maxBytes: number };

/** MaxAppendSize of the server. */
const maxAppendBytes = 1024 * 1024;

export function streamTable() {
  const streams = new Map<string, Stream>();
  let position = 0;
  const of = (name: string): Stream => {
    const known = streams.get(name) ?? { events: [], begin: 0, deleted: false, maxCount: Number.POSITIVE_INFINITY, followers: new Set() };
    streams.set(name, known);
    return known;
  };
  const last = (name: string): number => {
    const { events, deleted } = of(name);
    return deleted ? -1 : events.length - 1;
  };
  /** What an earlier append with these ids has got, if it is where this one wants to be. */
  const repeated = ({ events }: Stream, expected: Expected, proposed: readonly Proposed[]): AppendAnswer | undefined => {
    const first = proposed[0]?.id;
    const at = typeof expected === 'number' ? expected + 1 : expected === 'none' ? 0 : events.findLastIndex(event => event.id === first);
    if (at < 0 || !proposed.every(({ id }, i) => events[at + i]?.id === id)) return undefined;
    const end = events[at + proposed.length - 1] as Stored;
    return { ok: true, revision: end.revision, position: end.position };
  };
  const readable = ({ events, begin, maxCount }: Stream): number => Math.max(begin, events.length - maxCount);

  return {
    last,
    append(name: string, expected: Expected, proposed: readonly Proposed[]): AppendAnswer {
      const stream = of(name);
      const bytes = proposed.reduce((sum, { data }) => sum + data.length, 0);
      if (bytes > maxAppendBytes) return { ok: false, why: 'too large', maxBytes: maxAppendBytes };
      const before = repeated(stream, expected, proposed);
      if (before !== undefined) return before;
      const actual = last(name);
      // Some of them are stored, the rest is not: that is no repetition, and no revision fits it.
      if (expected === 'any' && proposed.some(({ id }) => stream.events.some(event => event.id === id)))
        return { ok: false, why: 'revision', actual };
      const fits = expected === 'any' || (expected === 'none' ? actual === -1 : expected === 'exists' ? actual >= 0 : actual === expected);
      if (!fits) return { ok: false, why: 'revision', actual };
      if (stream.deleted) [stream.begin, stream.deleted] = [stream.events.length, false];
      for (const each of proposed) {
        position += 1;
        stream.events.push({ ...each, stream: name, revision: stream.events.length, position });
      }
      if (name.startsWith('$$')) {
        const { $maxCount } = JSON.parse(Buffer.from(proposed[0]?.data ?? []).toString());
        if (typeof $maxCount === 'number') of(name.slice(2)).maxCount = $maxCount;
      }
      for (const follower of stream.followers) follower();
      return { ok: true, revision: stream.events.length - 1, position };
    },
    /** @returns undefined when there is no such stream */
    read(name: string, from: number, count: number, isBackwards: boolean): readonly Stored[] | undefined {
      const stream = of(name);
      if (stream.events.length === 0 || stream.deleted) return undefined;
      const begin = readable(stream);
      if (!isBackwards) return stream.events.slice(Math.max(from, begin), Math.max(from, begin) + count);
      const end = Math.min(from, stream.events.length - 1);
      return stream.events.slice(Math.max(begin, end - count + 1), end + 1).toReversed();
    },
    /** Calls `take` with each event after a revision, one at a time. @returns what ends it */
    follow(name: string, after: number, take: (event: Stored) => Promise<void>): () => void {
      const stream = of(name);
      let next = after + 1;
      let running = false;
      let stopped = false;
      const run = async (): Promise<void> => {
        if (running) return;
        running = true;
        while (!stopped && next < stream.events.length) {
          const event = stream.events[next] as Stored;
          next += 1;
          await take(event);
        }
        running = false;
      };
      const wake = (): void => void run();
      stream.followers.add(wake);
      wake();
      return () => {
        stopped = true;
        stream.followers.delete(wake);
      };
    },
    /** @returns position; undefined when there never was such a stream */
    delete(name: string): number | undefined {
      if (of(name).events.length === 0) return undefined;
      of(name).deleted = true;
      position += 1;
      return position;
    },
    cut(name: string, length: number): void {
      of(name).events.length = length;
    },
  };
}
