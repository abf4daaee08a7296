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

type Tried = { readonly sinceMs: number; readonly uids: ReadonlySet<string> };
const triedBy = new WeakMap<Context, Lru<Tried>>();
const maxProgrammers = 10_000;
const refusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['NOT_FOUND', 'DEVICE_STATE', 'FORBIDDEN']);

/** @param programmer UID of the one that asks about `uid` @throws what `ask` throws; RATE_LIMITED, with an alarm, beyond the limit */
export async function asked<Result>({ ctx, alarms }: Parts, programmer: string, uid: string, ask: () => Promise<Result>): Promise<Result> {
  const all = triedBy.get(ctx) ?? lru<Tried>(maxProgrammers);
  triedBy.set(ctx, all);
  const nowMs = ctx.clock().getTime();
  const known = all.get(programmer);
  const { sinceMs, uids } = known && areWithin(refusalWindowMs, nowMs, known.sinceMs) ? known : { sinceMs: nowMs, uids: new Set<string>() };
  if (uids.size >= maxRefusalsPerWindow && !uids.has(uid)) {
    const detail = `asked for ${uids.size} devices that it can do nothing for, and for ${uid}`;
    await alarms.raise({ code: 'UIDS_TRIED', subject: programmerStream(programmer), detail });
    throw new NusecError('RATE_LIMITED', 'too many devices were asked for that this programmer can do nothing for');
  }
  try {
    return await ask();
  } catch (error) {
    if (error instanceof NusecError && refusals.has(error.code)) all.set(programmer, { sinceMs, uids: new Set(uids).add(uid) });
    throw error;
  }
}
