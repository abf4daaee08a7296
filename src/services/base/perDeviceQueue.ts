import { NusecError } from '../../errors.ts';

/** Work on devices: one at a time on one device, a bounded number over all, a bounded number waiting. Waiting for a device is not working: one that
 *  does not answer soon gives its place to the next one, and comes before those that have not begun when its answer is there. */
export type PerDeviceQueue = {
  /** @param work what waits for the device in `answer` gives its place back meanwhile
   *  @throws NusecError RATE_LIMITED when too many wait */
  run<T>(uid: string, work: (answer: Answer) => Promise<T>): Promise<T>;
};

/** Waits for what a device answers, or for time to pass. */
export type Answer = <T>(awaited: Promise<T>) => Promise<T>;

export type QueueLimits = {
  /** Devices that are worked on. */
  readonly maxRunning: number;
  /** Devices that wait to be worked on, or are waited for. */
  readonly maxWaiting: number;
  /** How long a device may think and keep its place; 250 ms when not given. */
  readonly promptMs?: number;
};

const defaultPromptMs = 250;

export function createPerDeviceQueue({ maxRunning, maxWaiting, promptMs = defaultPromptMs }: QueueLimits): PerDeviceQueue {
  const last = new Map<string, Promise<unknown>>();
  const places = createPlaces(maxRunning);
  let entered = 0;

  const answer: Answer = async awaited => {
    let isAway = false;
    const timer = setTimeout(() => {
      isAway = true;
      places.giveBack();
    }, promptMs);
    try {
      return await awaited;
    } finally {
      clearTimeout(timer);
      if (isAway) await places.takeAgain();
    }
  };
  const limited = async <T>(work: (answer: Answer) => Promise<T>): Promise<T> => {
    await places.take();
    try {
      return await work(answer);
    } finally {
      places.giveBack();
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

/** So many that work; the others wait in their order, those first that had a place before. */
export function createPlaces(count: number) {
  const [begun, fresh]: [(() => void)[], (() => void)[]] = [[], []];
  let taken = 0;
  const enter = (line: (() => void)[]): Promise<void> => {
    if (taken >= count) return new Promise(resolve => line.push(resolve));
    taken += 1;
    return Promise.resolve();
  };
  return {
    take: () => enter(fresh),
    takeAgain: () => enter(begun),
    giveBack(): void {
      const next = begun.shift() ?? fresh.shift();
      if (next === undefined) taken -= 1;
      else next();
    },
  };
}
