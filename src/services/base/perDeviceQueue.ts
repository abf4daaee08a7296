import { NusecError } from '../../errors.ts';

/** Work on devices: one at a time on one device, a bounded number over all, a bounded number waiting. */
export type PerDeviceQueue = {
  /** @throws NusecError RATE_LIMITED when too many wait */
  run<T>(uid: string, work: () => Promise<T>): Promise<T>;
};

export type QueueLimits = { readonly maxRunning: number; readonly maxWaiting: number };

export function createPerDeviceQueue({ maxRunning, maxWaiting }: QueueLimits): PerDeviceQueue {
  const last = new Map<string, Promise<unknown>>();
  const waiting: (() => void)[] = [];
  let running = 0;
  let entered = 0;

  const take = async (): Promise<void> => {
    if (running < maxRunning) running += 1;
    else await new Promise<void>(resolve => waiting.push(resolve));
  };
  const giveBack = (): void => {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  };
  const limited = async <T>(work: () => Promise<T>): Promise<T> => {
    await take();
    try {
      return await work();
    } finally {
      giveBack();
    }
  };
  return {
    async run(uid, work) {
      if (entered >= maxRunning + maxWaiting) throw new NusecError('RATE_LIMITED', 'too many devices are waiting for their turn');
      entered += 1;
      const mine = (last.get(uid) ?? Promise.resolve()).then(() => limited(work));
      const settled = mine.catch(() => undefined);
      last.set(uid, settled);
      try {
        return await mine;
      } finally {
        entered -= 1;
        if (last.get(uid) === settled) last.delete(uid);
      }
    },
  };
}
