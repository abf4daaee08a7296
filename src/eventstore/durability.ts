/** Knows up to which position the events are on the disk. A commit shows events to every process at once; they count only after the log file
 *  has been synchronised, which happens outside the event loop and outside the write lock. */
import { NusecError } from '../errors.ts';

/** Synchronisations at the same time. The second one is for what was committed while the first one runs. */
const maxSyncs = 2;

export type Durability = {
  /** Everything up to here is on the disk. */
  position(): number;
  /** Resolves when everything up to `position` is on the disk.
   *  @throws NusecError STORE_UNAVAILABLE when the disk refused: whether these events outlive a power cut is unknown */
  reached(position: number): Promise<void>;
  /** Whether a synchronisation could begin now. */
  isFree(): boolean;
  /** Why nothing can be stored any more until the store is opened again. */
  failure(): NusecError | undefined;
};

type Waiter = { readonly position: number; resolve(): void; reject(error: Error): void };

/** @param sync puts on the disk whatever was committed before the call
 *  @param committed position of the newest committed event that is known
 *  @param ended called after each synchronisation */
export function createDurability(sync: () => Promise<void>, committed: () => number, ended: () => void): Durability {
  let durable = 0;
  /** What the synchronisations that run will reach. */
  let covered = 0;
  let running = 0;
  let failure: NusecError | undefined;
  let waiters: Waiter[] = [];

  const settle = (): void => {
    const met = waiters.filter(({ position }) => position <= durable);
    waiters = waiters.filter(({ position }) => position > durable);
    for (const { resolve } of met) resolve();
    if (failure === undefined) return;
    for (const { reject } of waiters) reject(failure);
    waiters = [];
  };
  const synchronise = async (): Promise<void> => {
    const position = committed();
    covered = position;
    running += 1;
    try {
      await sync();
      durable = Math.max(durable, position);
    } catch (cause) {
      // After a failed synchronisation the system may have dropped the pages: trying again would prove nothing.
      failure = new NusecError('STORE_UNAVAILABLE', 'the disk did not confirm the newest events; open the store again', { cause });
    }
    running -= 1;
    settle();
    begin();
    ended();
  };
  const begin = (): void => {
    if (running < maxSyncs && waiters.some(({ position }) => position > covered)) void synchronise();
  };

  return {
    position: () => durable,
    isFree: () => running < maxSyncs,
    failure: () => failure,
    reached(position) {
      if (position <= durable) return Promise.resolve();
      if (failure !== undefined) return Promise.reject(failure);
      return new Promise((resolve, reject) => {
        waiters.push({ position, resolve, reject });
        begin();
      });
    },
  };
}
