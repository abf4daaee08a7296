/** Text and value of a JSON file. @param refuse what to do with bytes that are none, or whose value is no object */
export function jsonOf(bytes: Uint8Array, refuse: (why: string) => never): { readonly text: string; readonly value: object } {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return { text, value };
  } catch {
    // The same answer as for another value.
  }
  return refuse('it is no JSON object');
}
