import { createRoute, z } from '@hono/zod-openapi';
import { NusecError } from '../errors.ts';
import type { RecordedEvent } from '../eventstore/port.ts';
import type { Context } from '../services/base/context.ts';
import { jsonAnswer, maxPageRows, wholeNumber } from './fields.ts';
import type { Resource } from './resource.ts';
import { visibleTo } from './scopes.ts';

/** The event log, for auditors. */

const position = wholeNumber(0).default(0);
export const eventPage = z.strictObject({ after: position, limit: wholeNumber(1, maxPageRows).default(100) });

export const next = { next: z.number().openapi({ description: 'ask again after it; it may be after the last one shown' }) };

/** A place that the log has not, such as one of another log or from before a backup was put back, would pass over events in silence.
 *  @returns how many events the log has @throws NusecError BAD_REQUEST */
export async function requirePlace({ store }: Context, after: number): Promise<number> {
  const head = await store.head();
  if (after > head) throw new NusecError('BAD_REQUEST', `the log has ${head} events, and none at position ${after}`);
  return head;
}

/** Rows looked at for one answer; with a narrow scope most of them are not shown. */
const maxScanned = 5000;

type Positioned = { readonly position: number };

/** Rows after a position (or before, when `read` goes backwards) that may be seen, and how far was looked; `isEnd`: behind it there are no more. */
export async function filtered<Row extends Positioned>(
  read: (after: number, limit: number) => Promise<readonly Row[]>,
  isVisible: (row: Row) => Promise<boolean>,
  after: number,
  limit: number,
): Promise<{ readonly rows: readonly Row[]; readonly next: number; readonly isEnd: boolean }> {
  const rows: Row[] = [];
  let [position, scanned] = [after, 0];
  while (rows.length < limit && scanned < maxScanned) {
    const page = await read(position, maxPageRows);
    for (const row of page) {
      if (rows.length === limit) return { rows, next: position, isEnd: false };
      if (await isVisible(row)) rows.push(row);
      position = row.position;
    }
    scanned += page.length;
    if (page.length < maxPageRows) return { rows, next: position, isEnd: true };
  }
  return { rows, next: position, isEnd: false };
}

export const eventSchema = z
  .object({
    id: z.string(),
    type: z.string(),
    v: z.number().openapi({ description: 'version of the shape of its data' }),
    at: z.string(),
    by: z.string(),
    cause: z.string().optional(),
    corr: z.string().optional(),
    stream: z.string(),
    position: z.number(),
    revision: z.number(),
    hash: z.string(),
    data: z.record(z.string(), z.any()),
  })
  .openapi('Event');

export type EventAnswer = z.infer<typeof eventSchema>;

/** With all that its hash is over, so that the caller can check the chain. */
export const eventAnswer = ({ id, type, v, at, by, cause, corr, stream, position, revision, hash, data }: RecordedEvent) => ({
  ...{ id, type, v, at, by },
  ...(cause !== undefined && { cause }),
  ...(corr !== undefined && { corr }),
  stream,
  position,
  revision,
  hash,
  data: data as Record<string, unknown>,
});

export const eventsResource: Resource = (api, { ctx }, auth) => {
  const events = createRoute({
    method: 'get',
    path: '/v1/events',
    summary: 'Events after a position, oldest first',
    middleware: auth.personInScope('auditor'),
    request: { query: eventPage },
    responses: { 200: jsonAnswer(z.object({ events: z.array(eventSchema), ...next, head: z.number() }), 'events') },
  });
  api.openapi(events, async c => {
    const { after, limit } = c.req.valid('query');
    await requirePlace(ctx, after);
    const isVisible = visibleTo(ctx, c.var.person.scope);
    const read = (from: number, count: number) => ctx.store.readAll(from, count);
    const found = await filtered(read, ({ stream }) => isVisible(stream), after, limit);
    return c.json({ events: found.rows.map(eventAnswer), next: found.next, head: await ctx.store.head() }, 200);
  });
};
