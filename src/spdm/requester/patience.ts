import { NusecError } from '../../errors.ts';
import type { Wait } from './delivery.ts';

/** How long a flow waits for a responder that is not ready: a microcontroller that signs in software takes some 100 ms, one that never gets ready
 *  must not hold anybody up.
 *  @param sleep of the caller, who has a clock
 *  @param maxWaitMs of one flow, together
 *  @returns for the `wait` of a flow; it throws SPDM_BUSY when the time is used up */
export function patience(sleep: (delayMs: number) => Promise<unknown>, maxWaitMs = defaultMaxWaitMs): Wait {
  let leftMs = maxWaitMs;
  return async delayMs => {
    leftMs -= delayMs;
    if (leftMs < 0) throw new NusecError('SPDM_BUSY', `responder was not ready within ${maxWaitMs} ms`);
    await sleep(delayMs);
  };
}

const defaultMaxWaitMs = 30_000;
