/** A bounded map that forgets what has not been used for long: a young and an old generation of half the weight each.
 *  What is used moves to the young one; when that is full, the old one goes as a whole. (Taking the oldest key of one Map
 *  again and again is slow: every deleted entry before it is stepped over.) */
export type Lru<Value> = {
  get(key: string): Value | undefined;
  /** A value heavier than half of the limit is not kept. */
  set(key: string, value: Value): void;
  delete(key: string): void;
  clear(): void;
  entries(): readonly (readonly [string, Value])[];
};

/** @param maxWeight of all entries together; without `weigh` each counts 1 */
export function lru<Value>(maxWeight: number, weigh: (value: Value) => number = () => 1): Lru<Value> {
  let young = new Map<string, Value>();
  let old = new Map<string, Value>();
  let youngWeight = 0;
  const remove = (key: string) => {
    const value = young.get(key);
    if (value !== undefined) youngWeight -= weigh(value);
    young.delete(key);
    old.delete(key);
  };
  const set = (key: string, value: Value) => {
    remove(key);
    const weight = weigh(value);
    if (weight > maxWeight / 2) return;
    if (youngWeight + weight > maxWeight / 2) {
      old = young;
      young = new Map();
      youngWeight = 0;
    }
    young.set(key, value);
    youngWeight += weight;
  };
  return {
    set,
    delete: remove,
    clear() {
      young = new Map();
      old = new Map();
      youngWeight = 0;
    },
    entries: () => [...new Map([...old, ...young])],
    get(key) {
      const inUse = young.get(key);
      if (inUse !== undefined) return inUse;
      const value = old.get(key);
      if (value !== undefined) set(key, value);
      return value;
    },
  };
}

/** What a cache has not is loaded once, for all who ask meanwhile. @returns what `load` gives @throws what it throws, to all of them, and nothing is kept */
export function loadedOnce<Value>({ get, set }: Pick<Lru<Value>, 'get' | 'set'>) {
  const loading = new Map<string, Promise<Value>>();
  const begin = async (key: string, load: () => Promise<Value>): Promise<Value> => {
    try {
      const value = await load();
      set(key, value);
      return value;
    } finally {
      loading.delete(key);
    }
  };
  return async (key: string, load: () => Promise<Value>): Promise<Value> => {
    const known = get(key);
    if (known !== undefined) return known;
    const underway = loading.get(key) ?? begin(key, load);
    loading.set(key, underway);
    return underway;
  };
}
