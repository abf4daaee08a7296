import { chainStart } from '../../eventstore/hashchain.ts';
import type { RecordedEvent } from '../../eventstore/port.ts';
import { type ExportEntry, fitsFilter, type LogFilter } from '../../evidence/logExport.ts';
import type { Context } from '../base/context.ts';

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
};
/** @property next position that the next page begins after */
export type LogPage = { readonly entries: readonly ExportEntry[]; readonly next: number };

export async function logPage(ctx: Context, { after, upTo, limit, filter, provenIn }: PageWish): Promise<LogPage> {
  const seen = new Map<string, string>();
  const previousOf = async ({ stream, revision }: RecordedEvent): Promise<string> => {
    const known = revision === 0 ? chainStart : seen.get(stream);
    return known ?? (await ctx.store.readStream(stream, revision - 1))[0]?.hash ?? '';
  };
  const entries: ExportEntry[] = [];
  let [next, bytes] = [after, 0];
  const events = await ctx.store.readAll(after, Math.min(maxScannedEvents, Math.max(0, upTo - after)));
  for (const event of events) {
    if (entries.length === limit || bytes > maxPageBytes) break;
    next = event.position;
    const previous = fitsFilter(event, filter) ? await previousOf(event) : undefined;
    seen.set(event.stream, event.hash);
    if (previous === undefined) continue;
    const path = provenIn === undefined ? undefined : [...(await ctx.store.tree.inclusion(event.position, provenIn))];
    const entry = entryOf(event, previous, path);
    entries.push(entry);
    bytes += JSON.stringify(entry).length;
  }
  return { entries, next };
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
