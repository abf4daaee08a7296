/** Other forms of an answer than a table: YAML and CSV, from the same JSON. */

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json | undefined };

/** @param value anything that JSON can say */
export function yaml(value: unknown, indent = ''): string {
  if (Array.isArray(value))
    return value.length === 0 ? ' []' : value.map(item => `\n${indent}-${nested(item, `${indent}  `, true)}`).join('');
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
    return entries.length === 0
      ? ' {}'
      : entries.map(([name, entry]) => `\n${indent}${scalar(name)}:${nested(entry, `${indent}  `)}`).join('');
  }
  return ` ${scalar(value as Json)}`;
}

/** The first line of a record in a list stands beside its dash. */
function nested(value: unknown, indent: string, isItem = false): string {
  const text = yaml(value, indent);
  return isItem && text.startsWith(`\n${indent}`) ? ` ${text.slice(indent.length + 1)}` : text;
}

/** JSON strings are YAML strings; a plain word needs no quotes unless YAML would read something else in it. */
function scalar(value: Json): string {
  const isPlain = typeof value === 'string' && /^[A-Za-z][\w./@-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value);
  return isPlain ? value : JSON.stringify(value);
}

/** RFC 4180: a line for each row, the columns of all of them. @param value rows, or one record */
export function csv(value: unknown): string {
  const rows = [value].flat().filter(row => row !== null && typeof row === 'object') as readonly Record<string, unknown>[];
  const columns = [...new Set(rows.flatMap(row => Object.keys(row)))];
  return [columns, ...rows.map(row => columns.map(name => row[name]))].map(line => `${line.map(field).join(',')}\r\n`).join('');
}

/** A field that a spreadsheet would run as a formula is disarmed by a quote mark. */
function field(value: unknown): string {
  const text = value === null || value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
