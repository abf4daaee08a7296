import type { ExportEntry, LogFilter } from '../evidence/logExport.ts';

/** Which events of the log are meant. */

export type FilterOptions = { readonly type?: readonly string[]; readonly stream?: readonly string[]; readonly by?: readonly string[] };

export const filterOf = ({ type, stream, by }: FilterOptions): LogFilter => ({
  ...(type && { types: [...type] }),
  ...(stream && { streams: [...stream] }),
  // `alice` is a person.
  ...(by && { by: by.map(one => (/[:*]/.test(one) ? one : `operator:${one}`)) }),
});

export const isFiltered = (filter: LogFilter): boolean => Object.keys(filter).length > 0;

/** Answer of GET /v1/log/entries. */
export type LogPage = { readonly entries: readonly ExportEntry[]; readonly next: number; readonly head: number };

/** Its query. */
export function pageQuery(numbers: Readonly<Record<string, number>>, { types = [], streams = [], by = [] }: LogFilter): URLSearchParams {
  return new URLSearchParams([
    ...Object.entries(numbers).map(([name, value]): [string, string] => [name, String(value)]),
    ...types.map((type): [string, string] => ['type', type]),
    ...streams.map((stream): [string, string] => ['stream', stream]),
    ...by.map((one): [string, string] => ['by', one]),
  ]);
}
