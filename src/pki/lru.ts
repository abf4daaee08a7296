/** A map that forgets what was used least recently: for what is costly to derive from bytes and safe to derive again. */
export type Lru<Value> = { get(key: string): Value | undefined; set(key: string, value: Value): void };

/** @param maxEntries how many values are kept */
export function createLru<Value>(maxEntries: number): Lru<Value> {
  const entries = new Map<string, Value>();
  const set = (key: string, value: Value) => {
    entries.delete(key);
    entries.set(key, value);
    if (entries.size > maxEntries) entries.delete(entries.keys().next().value as string);
  };
  const get = (key: string) => {
    const value = entries.get(key);
    if (value !== undefined) set(key, value);
    return value;
  };
  return { get, set };
}
