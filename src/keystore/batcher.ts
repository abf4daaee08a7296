import { setImmediate } from 'node:timers/promises';
import { NusecError } from '../errors.ts';

/** Group commit: the work of one event-loop tick is committed together; while a commit runs, the next group gathers. Never a timer. */
type Batcher<Item, Result> = {
  /** Resolves when the commit holding `item` is durable. @throws RATE_LIMITED beyond `maxWaiting` items in the queue */
  add(item: Item): Promise<Result>;
  /** Resolves when nothing waits any more. */
  idle(): Promise<void>;
};

type Waiting<Item, Result> = { readonly item: Item; resolve(result: Result): void; reject(error: unknown): void };

const maxWaiting = 100_000;

/** @param commit stores all items or throws; gives one outcome per item, in order: its result, or the error that refuses just this item */
export function createBatcher<Item, Result>(
  commit: (items: readonly Item[]) => Promise<readonly (Result | NusecError)[]>,
): Batcher<Item, Result> {
  let waiting: Waiting<Item, Result>[] = [];
  let running: Promise<void> | undefined;

  const drain = async (): Promise<void> => {
    while (waiting.length > 0) {
      await setImmediate();
      const group = waiting;
      waiting = [];
      await settle(group, commit);
    }
    running = undefined;
  };

  return {
    add: item =>
      new Promise((resolve, reject) => {
        if (waiting.length >= maxWaiting) return reject(new NusecError('RATE_LIMITED', 'too many keys are waiting to be stored'));
        waiting.push({ item, resolve, reject });
        running ??= drain();
      }),
    idle: async () => running,
  };
}

async function settle<Item, Result>(
  group: readonly Waiting<Item, Result>[],
  commit: (items: readonly Item[]) => Promise<readonly (Result | NusecError)[]>,
): Promise<void> {
  try {
    const outcomes = await commit(group.map(each => each.item));
    for (const [index, each] of group.entries()) {
      const outcome = outcomes[index] as Result | NusecError;
      if (outcome instanceof NusecError) each.reject(outcome);
      else each.resolve(outcome);
    }
  } catch (error) {
    for (const each of group) each.reject(error);
  }
}
