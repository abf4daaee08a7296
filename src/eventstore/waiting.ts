import { NusecError } from '../errors.ts';

/** Waits for something that advances. The distance does not matter, only progress. */

/** Reads that wait at the same time. */
const maxWaitingReads = 10_000;
/** Without any progress for so long, a wait is given up. */
const maxStallMs = 5000;

type Waiter = { readonly reached: () => boolean; resolve(): void; reject(error: Error): void };

export type Waiting = {
  /** Resolves when `reached` gives true; waits as long as there is progress.
   *  @param stallMs without progress for so long it is given up; 5 s by default
   *  @throws NusecError PROJECTION_BEHIND, and whatever `reached` throws */
  until(reached: () => boolean, stallMs?: number): Promise<void>;
  /** There was progress: asks every waiter again. */
  check(): void;
  /** Lets none wait any longer. */
  close(): void;
};

/** @param onWait called when somebody begins to wait */
export function waiting(onWait: () => void): Waiting {
  const waiters = new Set<Waiter>();
  let progressedAtMs = performance.now();
  const behind = () => new NusecError('PROJECTION_BEHIND', 'the read model is behind; try again');
  return {
    async until(reached, stallMs = maxStallMs) {
      if (reached()) return;
      if (waiters.size >= maxWaitingReads) throw behind();
      onWait();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const waiter = { reached, resolve, reject };
      waiters.add(waiter);
      const beganAtMs = performance.now();
      let timer: NodeJS.Timeout;
      const watch = (): void => {
        const leftMs = Math.max(progressedAtMs, beganAtMs) + stallMs - performance.now();
        if (leftMs <= 0) reject(behind());
        else timer = setTimeout(watch, leftMs);
      };
      timer = setTimeout(watch, stallMs);
      try {
        await promise;
      } finally {
        clearTimeout(timer);
        waiters.delete(waiter);
      }
    },
    check() {
      progressedAtMs = performance.now();
      for (const { reached, resolve, reject } of waiters) {
        try {
          if (reached()) resolve();
        } catch (error) {
          reject(error as Error);
        }
      }
    },
    close() {
      for (const { reject } of waiters) reject(behind());
    },
  };
}
