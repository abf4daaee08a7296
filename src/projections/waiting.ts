import { NusecError } from '../errors.ts';

/** Reads that wait at once. */
const maxWaitingReads = 10_000;

type Waiter = { readonly reached: () => boolean; resolve(): void; reject(error: Error): void };

export type Waiting = {
  /** Resolves when `reached` says so. @throws NusecError PROJECTION_BEHIND after `timeoutMs`, and whatever `reached` throws */
  until(reached: () => boolean, timeoutMs: number): Promise<void>;
  /** Asks every waiter again. */
  check(): void;
  /** Lets none wait any longer. */
  close(): void;
};

export function waiting(): Waiting {
  const waiters = new Set<Waiter>();
  const behind = () => new NusecError('PROJECTION_BEHIND', 'the read model is behind; try again');
  return {
    async until(reached, timeoutMs) {
      if (reached()) return;
      if (waiters.size >= maxWaitingReads) throw behind();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const waiter = { reached, resolve, reject };
      waiters.add(waiter);
      const timer = setTimeout(() => reject(behind()), timeoutMs);
      try {
        await promise;
      } finally {
        clearTimeout(timer);
        waiters.delete(waiter);
      }
    },
    check() {
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
