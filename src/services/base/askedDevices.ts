import { maxRefusalsPerWindow } from '../../domain/allotment.ts';
import { refusalWindowMs } from '../../domain/allotmentState.ts';
import { programmerStream } from '../../domain/programmer.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import { type Lru, lru } from '../../lru.ts';
import { areWithin } from '../../times.ts';
import type { Parts } from './alarms.ts';
import type { Context } from './context.ts';

/** A programmer asks about the devices on its wires. One that asks for UID after UID which it can do nothing for is looking for devices, and learns as
 *  few of them as one that reserves them (T25). Each server process counts for itself. */

type Tried = {
  readonly sinceMs: number;
  /** Those that it was refused for. */
  readonly uids: Set<string>;
  /** What it asks now; each settles, whatever it finds. */
  readonly underWay: Set<Promise<void>>;
};
const triedBy = new WeakMap<Context, Lru<Tried>>();
const maxProgrammers = 10_000;
const refusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['NOT_FOUND', 'DEVICE_STATE', 'FORBIDDEN']);

/** @param programmer UID of the one that asks about `uid` @throws what `ask` throws; RATE_LIMITED, with an alarm, beyond the limit */
export async function asked<Result>({ ctx, alarms }: Parts, programmer: string, uid: string, ask: () => Promise<Result>): Promise<Result> {
  const tried = triedLately(ctx, programmer);
  // Whoever asks for many at once learns no more than one after the other.
  while (tried.underWay.size > 0 && tried.uids.size + tried.underWay.size >= maxRefusalsPerWindow) await Promise.race(tried.underWay);
  if (tried.uids.size >= maxRefusalsPerWindow && !tried.uids.has(uid)) {
    const detail = `asked for ${tried.uids.size} devices that it can do nothing for, and for ${uid}`;
    await alarms.raise({ code: 'UIDS_TRIED', subject: programmerStream(programmer), detail });
    throw new NusecError('RATE_LIMITED', 'too many devices were asked for that this programmer can do nothing for');
  }
  const asking = ask();
  const noteRefusal = (error: unknown): void => {
    if (error instanceof NusecError && refusals.has(error.code)) tried.uids.add(uid);
  };
  const settled: Promise<void> = asking.then(() => undefined, noteRefusal).finally(() => tried.underWay.delete(settled));
  tried.underWay.add(settled);
  return asking;
}

function triedLately(ctx: Context, programmer: string): Tried {
  const all = triedBy.get(ctx) ?? lru<Tried>(maxProgrammers);
  triedBy.set(ctx, all);
  const nowMs = ctx.clock().getTime();
  const known = all.get(programmer);
  if (known && areWithin(refusalWindowMs, nowMs, known.sinceMs)) return known;
  const tried = { sinceMs: nowMs, uids: new Set<string>(), underWay: new Set<Promise<void>>() };
  all.set(programmer, tried);
  return tried;
}
