import { NusecError } from '../../errors.ts';
import { faultOf, type StoreVerdict } from '../../eventstore/verify.ts';
import { startVerification } from '../../eventstore/verifyThread.ts';
import type { SignedTree } from '../../eventstore/verifyTree.ts';
import type { Parts } from '../base/alarms.ts';

/** Looks at every event when a server starts, so that one that somebody rewrote with fresh hashes is found before it is used (T18). */

/** About a second. A longer log is looked at beside the work, and what is found is an alarm. */
const maxEventsBeforeStart = 200_000;

export type LogCheck = {
  /** What was found after the start; undefined as long as nothing was. */
  trouble(): string | undefined;
  close(): Promise<void>;
};

export type LogToCheck = {
  readonly file: string;
  /** Of checkpoints that hold for the tree. */
  readonly signed: readonly SignedTree[];
};

/** @throws NusecError STORE_DAMAGED (names the first event that does not hold) */
export async function startLogCheck(
  { ctx, alarms }: Parts,
  { file, signed }: LogToCheck,
  maxEvents = maxEventsBeforeStart,
): Promise<LogCheck> {
  const running = startVerification({ file, signed, marked: true });
  let trouble: string | undefined;
  if ((await ctx.store.head()) <= maxEvents) {
    trouble = troubleIn(await running.verdict);
    if (trouble !== undefined) throw new NusecError('STORE_DAMAGED', trouble);
  } else {
    const found = async (detail: string | undefined): Promise<void> => {
      trouble = detail;
      if (detail === undefined) return;
      ctx.log.error({ detail }, 'the event log does not hold');
      await alarms.raise({ code: 'STORE_DAMAGED', subject: 'store', detail });
    };
    running.verdict
      .then(troubleIn, (error: Error) => error.message)
      .then(found, () => undefined)
      .catch(() => undefined);
  }
  return { trouble: () => trouble, close: running.close };
}

const troubleIn = (verdict: StoreVerdict): string | undefined =>
  verdict.ok ? undefined : `${faultOf(verdict)} (${verdict.reason}); see nusec log verify`;
