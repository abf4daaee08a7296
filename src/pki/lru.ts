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

/** The same function, with its results kept until there are `maxEntries`, then begun anew: for few texts that come all the time.
 *  The result must depend on the text alone and never be changed. */
export function remembered<Value extends object>(maxEntries: number, make: (text: string) => Value): (text: string) => Value {
  const results = new Map<string, Value>();
  return text => {
    const known = results.get(text);
    if (known) return known;
    const value = make(text);
    if (results.size >= maxEntries) results.clear();
    results.set(text, value);
    return value;
  };
}
