/** The same function, with its results kept until there are `maxEntries`, then all forgotten: for few texts that come all the time.
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
