/** Writing together: what comes within a moment is written in one go, and whoever brought it waits for that. A transaction costs more than its rows. */

export type Together<Item> = {
  /** @returns when it is written @throws what `write` throws, to all whose items were in that go */
  add(item: Item): Promise<void>;
  /** Writes what waits, now. */
  flush(): void;
};

/** How long the first one waits for others. */
const gatherMs = 5;
/** Written in one go: meanwhile nobody else writes. */
const mostTogether = 256;

/** @param write all of them or none */
export function writingTogether<Item>(write: (items: readonly Item[]) => void): Together<Item> {
  let waiting: Item[] = [];
  let written = Promise.withResolvers<void>();
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (waiting.length === 0) return;
    const [items, { resolve, reject }] = [waiting, written];
    waiting = [];
    written = Promise.withResolvers();
    try {
      write(items);
      resolve();
    } catch (error) {
      reject(error);
    }
  };
  return {
    add(item) {
      const { promise } = written;
      waiting.push(item);
      timer ??= setTimeout(flush, gatherMs);
      if (waiting.length >= mostTogether) flush();
      return promise;
    },
    flush,
  };
}
