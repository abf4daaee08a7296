import { personalStreams } from '../../domain/personalFields.ts';
import { chainStart } from '../../eventstore/hashchain.ts';
import { openEvent } from '../../eventstore/personalEvent.ts';
import type { RecordedEvent } from '../../eventstore/port.ts';
import { type ExportEntry, fitsFilter, type LogFilter } from '../../evidence/logExport.ts';
import { pseudonymOf } from '../../evidence/personalSeal.ts';
import type { Context } from '../base/context.ts';
import type { Subjects } from '../base/subjectRegistry.ts';

/** Reads the log page by page for auditors: with a filter, and with what proves each event. */

/** Events that one page looks at, whether they fit or not. */
const maxScannedEvents = 5000;
/** JSON text in one page; it ends with the event that goes beyond. */
const maxPageBytes = 4 * 1024 * 1024;

export type PageWish = {
  readonly after: number;
  readonly upTo: number;
  readonly limit: number;
  readonly filter: LogFilter;
  /** Size of the tree under which each event gets its path; none: without paths. */
  readonly provenIn?: number;
  /** With people readable, as far as they are not erased; such events are not what their hashes are of. */
  readonly readable?: boolean;
};
/** @property next position that the next page begins after */
export type LogPage = { readonly entries: readonly ExportEntry[]; readonly next: number };

export async function logPage(
  ctx: Context,
  { after, upTo, limit, filter: wanted, provenIn, readable = false }: PageWish,
): Promise<LogPage> {
  const filter = storedFilter(ctx.subjects, wanted);
  const seen = new Map<string, string>();
  const previousOf = async ({ stream, revision }: RecordedEvent): Promise<string> => {
    const known = revision === 0 ? chainStart : seen.get(stream);
    return known ?? (await ctx.storedLog.readStream(stream, revision - 1))[0]?.hash ?? '';
  };
  const entries: ExportEntry[] = [];
  let [next, bytes] = [after, 0];
  const events = await ctx.storedLog.readAll(after, Math.min(maxScannedEvents, Math.max(0, upTo - after)));
  for (const event of events) {
    if (entries.length === limit || bytes > maxPageBytes) break;
    next = event.position;
    const previous = fitsFilter(event, filter) ? await previousOf(event) : undefined;
    seen.set(event.stream, event.hash);
    if (previous === undefined) continue;
    const path = provenIn === undefined ? undefined : [...(await ctx.storedLog.tree.inclusion(event.position, provenIn))];
    const entry = entryOf(readable ? openEvent(ctx.subjects, event) : event, previous, path);
    entries.push(entry);
    bytes += JSON.stringify(entry).length;
  }
  return { entries, next };
}

/** A filter names people as people do. In the log they have pseudonyms: each is looked for under both. */
export function storedFilter(subjects: Subjects, { types, streams, by }: LogFilter): LogFilter {
  const people = subjects.list();
  const isMeant = (name: string, pattern: string): boolean => fitsFilter({ type: '', stream: '', by: name }, { by: [pattern] });
  const storedOf = (pattern: string, beginnings: typeof personalStreams): readonly string[] =>
    people.flatMap(({ id, kind, name }) =>
      beginnings.flatMap(([beginning, of]) => (of === kind && isMeant(beginning + name, pattern) ? [beginning + pseudonymOf(id)] : [])),
    );
  const both = (patterns: readonly string[], beginnings: typeof personalStreams): string[] => [
    ...new Set(patterns.flatMap(pattern => [pattern, ...storedOf(pattern, beginnings)])),
  ];
  return {
    ...(types && { types }),
    ...(streams && { streams: both(streams, personalStreams) }),
    ...(by && { by: both(by, [['operator:', 'operator']]) }),
  };
}

const entryOf = ({ data, hash, ...event }: RecordedEvent, previous: string, path?: string[]): ExportEntry => {
  const { position, stream, revision, id, type, v, at, by, cause, corr } = event;
  const named = {
    position,
    stream,
    revision,
    id,
    type,
    v,
    at,
    by,
    ...(cause !== undefined && { cause }),
    ...(corr !== undefined && { corr }),
  };
  return { ...named, data: data as ExportEntry['data'], previous, hash, ...(path !== undefined && { path }) };
};
