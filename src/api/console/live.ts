import type { Context as HonoContext } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { Context } from '../../services/base/context.ts';
import type { ApiEnv } from '../auth.ts';
import { type Person, stillSignedIn } from '../sessions.ts';

/** Says to open pages that the log has grown: they fetch themselves again, with the rights that the person has at that moment. */

/** Pages of all people that follow the log in this process. */
const maxFollowing = 200;
const checkMs = 500;
/** The connection is kept from being idle. */
const keepAliveMs = 15_000;
let following = 0;

/** What came after the position that the page names is told immediately.
 *  @param who the stream ends with the session and the rights of this person */
export function followLog(ctx: Context, c: HonoContext<ApiEnv>, who: Person): Response {
  if (following >= maxFollowing) return c.body(null, 503, { 'Retry-After': '60' });
  following++;
  const isStill = stillSignedIn(ctx, who);
  const after = Number(/^\d{1,15}$/.exec(c.req.query('after') ?? '')?.[0] ?? ctx.store.seen());
  return streamSSE(c, async stream => {
    let [seen, aliveAt] = [after, performance.now()];
    let over = false;
    const ended = new Promise<void>(resolve =>
      stream.onAbort(() => {
        over = true;
        resolve();
      }),
    );
    try {
      await stream.writeSSE({ event: 'following', data: String(seen) });
      while (!over && !stream.aborted && !stream.closed) {
        await Promise.race([stream.sleep(checkMs), ended]);
        if (!(await isStill())) return;
        const head = ctx.store.seen();
        if (head !== seen) await stream.writeSSE({ event: 'changed', data: String(head) });
        seen = head;
        if (performance.now() - aliveAt < keepAliveMs) continue;
        await stream.writeSSE({ event: 'alive', data: '' });
        aliveAt = performance.now();
      }
    } finally {
      following--;
    }
  });
}
