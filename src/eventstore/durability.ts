import { NusecError } from '../errors.ts';

/** Knows up to which position the events are on the disk. A commit shows events to every process immediately; they count only after the log file
 *  has been synchronised, which happens outside the event loop and outside the write lock. */

/** Synchronisations at the same time. The second one is for what was committed while the first one runs. */
const maxSyncs = 2;

/** How far the commits that this process knows reach. */
export type Progress = {
  /** Position of the newest event. */
  readonly position: number;
  /** Its hash; empty when there is none. */
  readonly hash: string;
  /** Grows with every commit that is known here, also with one that has no event. */
  readonly version: number;
};

export type Durability = {
  /** Everything up to this position is on the disk. */
  position(): number;
  /** Resolves when everything that is committed now is on the disk.
   *  @throws NusecError STORE_UNAVAILABLE when the disk refused: whether it outlives a power cut is unknown */
  reached(): Promise<void>;
  /** Another process has put everything up to this position on the disk. */
  confirm(position: number): void;
  /** Whether a synchronisation could begin now. */
  isFree(): boolean;
  /** Resolves when no synchronisation runs. */
  idle(): Promise<void>;
  /** Why nothing can be stored any more until the store is opened again. */
  failure(): NusecError | undefined;
};

type Waiter = { readonly version: number; resolve(): void; reject(error: Error): void };

/** @param sync puts on the disk whatever was committed before the call
 *  @param reached called with the position on the disk, before any waiter resumes
 *  @param ended called after each synchronisation */
export function createDurability(
  sync: () => Promise<void>,
  committed: () => Progress,
  reached: (progress: Progress) => void,
  ended: () => void,
): Durability {
  let durable: Progress = { position: 0, hash: '', version: -1 };
  /** Version that the synchronisations which run will reach. */
  let covered = -1;
  let running = 0;
  let failure: NusecError | undefined;
  let waiters: Waiter[] = [];
  let becameIdle = Promise.withResolvers<void>();

  const settle = (): void => {
    const met = waiters.filter(({ version }) => version <= durable.version);
    waiters = waiters.filter(({ version }) => version > durable.version);
    for (const { resolve } of met) resolve();
    if (failure === undefined) return;
    for (const { reject } of waiters) reject(failure);
    waiters = [];
  };
  const synchronise = async (): Promise<void> => {
    const progress = committed();
    covered = progress.version;
    running += 1;
    try {
      await sync();
      if (progress.version > durable.version) {
        reached(progress);
        durable = { ...progress, position: Math.max(progress.position, durable.position) };
      }
    } catch (cause) {
      // After a failed synchronisation the system may have dropped the pages: trying again would prove nothing.
      failure = new NusecError('STORE_UNAVAILABLE', 'the disk did not confirm the newest events; open the store again', { cause });
    }
    running -= 1;
    settle();
    begin();
    ended();
    if (running > 0) return;
    becameIdle.resolve();
    becameIdle = Promise.withResolvers();
  };
  const begin = (): void => {
    if (running < maxSyncs && waiters.some(({ version }) => version > covered)) void synchronise();
  };

  return {
    position: () => durable.position,
    confirm(position) {
      if (position > durable.position) durable = { ...durable, position };
    },
    idle: async () => {
      if (running > 0) await becameIdle.promise;
    },
    isFree: () => running < maxSyncs,
    failure: () => failure,
    reached() {
      const { version } = committed();
      if (version <= durable.version) return Promise.resolve();
      if (failure !== undefined) return Promise.reject(failure);
      return new Promise((resolve, reject) => {
        waiters.push({ version, resolve, reject });
        begin();
      });
    },
  };
}
