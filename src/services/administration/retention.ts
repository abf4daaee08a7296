import { type Repeated, repeatedly } from '../../closing.ts';
import { subjects, subjectsStream } from '../../domain/subjects.ts';
import { dayMs, hourMs } from '../../times.ts';
import { type Context, execute } from '../base/context.ts';

/** Forgets addresses of clients whose time is over; the log keeps how many. One process does it for all. */

const everyMs = hourMs;

/** @param addressDays how long the address of a client can be read that gave wrong tokens */
export const startRetention = (ctx: Context, addressDays: number): Repeated =>
  repeatedly(
    everyMs,
    () => forgetAddresses(ctx, addressDays),
    error => ctx.log.error({ error: String(error) }, 'addresses were not forgotten'),
  );

export async function forgetAddresses(ctx: Context, addressDays: number): Promise<void> {
  const before = new Date(ctx.clock().getTime() - addressDays * dayMs).toISOString();
  const over = ctx.subjects.list().filter(({ kind, since }) => kind === 'address' && since < before);
  for (const { id } of over) await ctx.subjects.destroy(id);
  await execute(ctx, subjects, subjectsStream, { type: 'ForgetAddresses', count: over.length, before }, 'system:retention');
}
