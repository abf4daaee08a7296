/** A map that forgets the entry used longest ago when the sum of its weights passes `maxWeight`. */
export type Lru<Value> = {
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
  delete(key: string): void;
};

export function lru<Value>(maxWeight: number, weigh: (value: Value) => number = () => 1): Lru<Value> {
  const entries = new Map<string, Value>();
  let weight = 0;
  const remove = (key: string) => {
    const value = entries.get(key);
    if (value === undefined) return undefined;
    entries.delete(key);
    weight -= weigh(value);
    return value;
  };
  return {
    get(key) {
      const value = entries.get(key);
      if (value === undefined) return undefined;
      entries.delete(key);
      entries.set(key, value);
      return value;
    },
    set(key, value) {
      remove(key);
      entries.set(key, value);
      weight += weigh(value);
      for (const oldest of entries.keys()) {
        if (weight <= maxWeight) return;
        remove(oldest);
      }
    },
    delete: key => void remove(key),
  };
}
