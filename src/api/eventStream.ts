import { createRoute, z } from '@hono/zod-openapi';
import { streamSSE } from 'hono/streaming';
import { NusecError } from '../errors.ts';
import { fitsFilter } from '../evidence/logExport.ts';
import { cloudEvent } from '../services/integration/cloudEvent.ts';
import { requirePlace } from './events.ts';
import { wholeNumber } from './fields.ts';
import { filterOf, filters } from './log.ts';
import type { Resource } from './resource.ts';
import { visibleTo } from './scopes.ts';
import { stillSignedIn } from './sessions.ts';

/** `/v1/events/stream`: the log as it grows, for other systems: server-sent events, each a CloudEvents 1.0 envelope. Whoever comes back says where
 *  it was (`Last-Event-ID`, as browsers do, or `after`) and misses nothing. */

/** Streams of one process at a time. */
const maxStreams = 100;
const pageEvents = 500;
const lookMs = 250;
/** A comment keeps the connection from being idle. */
const keepAliveMs = 15_000;

const query = z.strictObject({ after: wholeNumber(0).optional(), ...filters });

export const eventStreamResource: Resource = (api, { ctx }, auth) => {
  let streams = 0;
  const route = createRoute({
    method: 'get',
    path: '/v1/events/stream',
    summary: 'Events as they come, as server-sent events: `id` is the position, `data` a CloudEvents 1.0 envelope',
    middleware: auth.personInScope('auditor'),
    request: { query },
    responses: { 200: { description: 'ends with the right to read', content: { 'text/event-stream': { schema: z.string() } } } },
  });
  /** After which event it goes on. @throws NusecError BAD_REQUEST */
  const beginning = async (lastEventId: string | undefined, after: number | undefined): Promise<number> => {
    if (lastEventId !== undefined && !/^\d{1,15}$/.test(lastEventId))
      throw new NusecError('BAD_REQUEST', 'Last-Event-ID is not one of this stream');
    const place = lastEventId === undefined ? after : Number(lastEventId);
    const head = await requirePlace(ctx, place ?? 0);
    return place ?? head;
  };
  api.openapi(route, async c => {
    if (streams >= maxStreams) throw new NusecError('RATE_LIMITED', `${maxStreams} systems follow the log already`);
    const { after, ...wanted } = c.req.valid('query');
    const filter = filterOf(wanted);
    const begin = await beginning(c.req.header('Last-Event-ID'), after);
    const { person } = c.var;
    const isStill = stillSignedIn(ctx, person);
    streams++;
    return streamSSE(c, async stream => {
      let position = begin;
      let aliveAt = performance.now();
      stream.onAbort(() => undefined);
      try {
        await stream.write(`: after ${position}\n\n`);
        while (!stream.aborted && !stream.closed) {
          const events = await ctx.store.readAll(position, pageEvents);
          // Judged by a log that has these events: nothing is sent from the end of the right to read on.
          if (!(await isStill())) return;
          // Judged again with each page: programmers change sites.
          const isVisible = visibleTo(ctx, person.scope);
          for (const event of events) {
            position = event.position;
            if (!fitsFilter(event, filter) || !(await isVisible(event.stream))) continue;
            await stream.writeSSE({ id: String(position), event: event.type, data: JSON.stringify(cloudEvent(ctx.project, event)) });
          }
          if (events.length === 0) await stream.sleep(lookMs);
          if (performance.now() - aliveAt < keepAliveMs) continue;
          await stream.write(`: at ${position}\n\n`);
          aliveAt = performance.now();
        }
      } finally {
        streams--;
      }
    });
  });
};
