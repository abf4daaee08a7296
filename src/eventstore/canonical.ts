import type { Json } from './port.ts';

/** JSON with sorted names and no white space (RFC 8785, JSON Canonicalization Scheme): one value, one text.
 *  Names are sorted by UTF-16 code units (§3.2.3); numbers and strings are written as ECMAScript does (§3.2.2).
 *  @throws TypeError for anything JSON cannot carry: undefined, NaN, infinity, functions, bigint, Date, bytes */
export function canonicalJson(value: Json): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError('not JSON: a number that is not finite');
    return JSON.stringify(value);
  }
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value !== 'object') throw new TypeError(`not JSON: ${typeof value}`);
  if (Array.isArray(value)) return canonicalArray(value);
  return canonicalObject(value as { readonly [key: string]: Json });
}

/** The value that canonicalJson and a parser give back: names in their order, no negative zero. What JSON cannot carry stays, and is refused there. */
export function canonicalCopy(value: Json): Json {
  if (value === 0) return 0;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(canonicalCopy);
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  const record = value as { readonly [key: string]: Json };
  const copy: Record<string, Json> = {};
  for (const name of Object.keys(record).sort()) copy[name] = canonicalCopy(record[name] as Json);
  return copy;
}

function canonicalArray(items: readonly Json[]): string {
  let text = '[';
  for (let i = 0; i < items.length; i++) text += (i === 0 ? '' : ',') + canonicalJson(items[i] as Json);
  return `${text}]`;
}

function canonicalObject(record: { readonly [key: string]: Json }): string {
  const prototype = Object.getPrototypeOf(record);
  if (prototype !== Object.prototype && prototype !== null) throw new TypeError('not JSON: an object that is not a plain record');
  let text = '{';
  for (const name of Object.keys(record).sort()) {
    text += `${text.length === 1 ? '' : ','}${JSON.stringify(name)}:${canonicalJson(record[name] as Json)}`;
  }
  return `${text}}`;
}
