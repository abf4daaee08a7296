import { setTimeout as sleep } from 'node:timers/promises';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import type { ExportEntry, LogFilter } from '../evidence/logExport.ts';
import { type ServerOptions, withServer } from './client.ts';
import { type FilterOptions, filterOf, type LogPage, pageQuery } from './logFilter.ts';

/** `nusec log tail`: the newest events, and those that come. */

export type TailOptions = ServerOptions & FilterOptions & { readonly lines: number; readonly follow?: boolean };

const rowsAtOnce = 500;
/** How far back is looked for events that fit: in windows of so many. */
const windowEvents = 5000;
const maxWindows = 20;
const followMs = 500;

export const tailLog = (options: TailOptions): Promise<void> =>
  withServer(options, async server => {
    const filter = filterOf(options);
    const { head } = await page(server, { after: 0, upTo: 0 }, filter);
    const show = (entries: readonly ExportEntry[]): void => {
      for (const entry of entries) process.stdout.write(`${options.json ? JSON.stringify(entry) : lineOf(entry)}\n`);
    };
    show(await newest(server, filter, head, options.lines));
    for (let at = head; options.follow; await sleep(followMs)) {
      const { entries, next } = await page(server, { after: at }, filter);
      show(entries);
      at = next;
    }
  });

async function newest(server: HttpClient, filter: LogFilter, head: number, lines: number): Promise<readonly ExportEntry[]> {
  let found: readonly ExportEntry[] = [];
  for (let [upTo, window] = [head, 0]; upTo > 0 && found.length < lines && window < maxWindows; window += 1) {
    const after = Math.max(0, upTo - windowEvents);
    found = [...(await between(server, filter, after, upTo)), ...found];
    upTo = after;
  }
  return lines === 0 ? [] : found.slice(-lines);
}

async function between(server: HttpClient, filter: LogFilter, after: number, upTo: number): Promise<readonly ExportEntry[]> {
  const found: ExportEntry[] = [];
  for (let at = after; at < upTo; ) {
    const { entries, next } = await page(server, { after: at, upTo }, filter);
    found.push(...entries);
    if (next <= at) break;
    at = next;
  }
  return found;
}

const page = (server: HttpClient, numbers: Readonly<Record<string, number>>, filter: LogFilter): Promise<LogPage> =>
  server.json<LogPage>('GET', `/v1/log/entries?${pageQuery({ limit: rowsAtOnce, readable: 1, ...numbers }, filter)}`);

const lineOf = ({ position, at, type, stream, revision, by, data }: ExportEntry): string =>
  `${String(position).padStart(8)}  ${at}  ${type}  ${stream}@${revision}  ${by}  ${JSON.stringify(data)}`;
