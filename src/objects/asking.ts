import { setTimeout as sleep } from 'node:timers/promises';
import { NusecError } from '../errors.ts';

/** How a store is asked that may be away. Trouble that shows at once is tried again. A silence is waited for once, by one who asks: while the store is known
 *  to be silent everybody else is told so immediately. */

/** No answer after so long is a silence, and not tried again. */
export const silentAfterMs = 2000;
/** After a silence, before the store is asked again. */
const restMs = 2000;
const pausesMs: readonly number[] = [100, 400];
/** Without any answer for so long, it is trouble that a person should know of. */
export const awayAfterMs = 30_000;

export type StoreWatch = {
  /** Called once, until there is an answer again. */
  readonly onAway?: (ms: number) => void;
  /** Called when there is one. */
  readonly onBack?: () => void;
};

export type AskingParts = {
  /** Whether the store has given this answer; otherwise there was none. */
  readonly isAnswer: (error: unknown) => boolean;
  readonly mayTryAgain: (error: unknown) => boolean;
  readonly watch?: StoreWatch;
  /** Milliseconds. */
  readonly now?: () => number;
};

/** @returns what does the work, which is one question; it throws what the work throws, and STORE_UNAVAILABLE while the store is known to be silent */
export function createAsking({ isAnswer, mayTryAgain, watch = {}, now = () => performance.now() }: AskingParts) {
  let answeredAt = Number.NEGATIVE_INFINITY;
  /** Of the questions without an answer since the last one: when the first was put, when the newest was given up. */
  let withoutSince: number | undefined;
  let silentAt: number | undefined;
  let isLooking = false;
  let isTold = false;
  const noteAnswer = (): void => {
    answeredAt = now();
    if (isTold) watch.onBack?.();
    [withoutSince, silentAt, isTold] = [undefined, undefined, false];
  };
  const noteNone = (begunAt: number): void => {
    // Others have got answers meanwhile: it is not the store.
    if (answeredAt > begunAt) return;
    withoutSince ??= begunAt;
    if (now() - begunAt >= silentAfterMs) silentAt = now();
    if (isTold || now() - withoutSince < awayAfterMs) return;
    isTold = true;
    watch.onAway?.(now() - withoutSince);
  };
  const once = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    const begunAt = now();
    const looksAgain = silentAt !== undefined;
    isLooking ||= looksAgain;
    try {
      const result = await work();
      noteAnswer();
      return result;
    } catch (error) {
      if (isAnswer(error)) noteAnswer();
      else noteNone(begunAt);
      throw error;
    } finally {
      if (looksAgain) isLooking = false;
    }
  };
  return async <Result>(work: () => Promise<Result>): Promise<Result> => {
    for (let tried = 0; ; tried += 1) {
      const begunAt = now();
      if (silentAt !== undefined && (isLooking || begunAt - silentAt < restMs)) throw silent();
      try {
        return await once(work);
      } catch (error) {
        const pauseMs = pausesMs[tried];
        if (pauseMs === undefined || now() - begunAt >= silentAfterMs || !mayTryAgain(error)) throw error;
        await sleep(pauseMs);
      }
    }
  };
}

const silent = (): NusecError =>
  new NusecError('STORE_UNAVAILABLE', 'the object store gives no answer; it is asked again every few seconds');
