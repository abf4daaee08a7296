import { closeSync, openSync, writeSync } from 'node:fs';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { type ExportEnd, type ExportHead, exportFormat, type LogFilter } from '../evidence/logExport.ts';
import { readCheckpoint } from '../merkle/checkpoint.ts';
import { parseNote } from '../merkle/note.ts';
import { type ServerOptions, withServer } from './client.ts';
import { type FilterOptions, filterOf, isFiltered, type LogPage, pageQuery } from './logFilter.ts';
import { print, record } from './output.ts';

/** `nusec log export`: the log, or what fits a filter, as a file that proves itself. */

export type ExportOptions = ServerOptions & FilterOptions & { readonly out: string; readonly after: number };

const rowsAtOnce = 500;

export async function exportLog(options: ExportOptions): Promise<void> {
  const filter = filterOf(options);
  const output = openSync(options.out, 'w', 0o600);
  try {
    const write = (line: unknown): void => void writeSync(output, `${JSON.stringify(line)}\n`);
    const { events, size, time } = await withServer(options, server => writeExport(server, options.after, filter, write));
    const of = isFiltered(filter) ? 'that fit the filter, each proven by itself' : `from position ${options.after + 1} on, none left out`;
    print(
      options,
      { file: options.out, events, size, time },
      record({ file: options.out, events: `${events} ${of}`, 'up to': `${size}, ${time}` }),
    );
  } finally {
    closeSync(output);
  }
}

type Exported = { readonly events: number; readonly size: number; readonly time: string | undefined };

async function writeExport(server: HttpClient, after: number, filter: LogFilter, write: (line: unknown) => void): Promise<Exported> {
  type Start = { readonly checkpoint: string; readonly logCertificates: string[]; readonly peaks: string[]; readonly filter: LogFilter };
  const start = await server.json<Start>('GET', `/v1/log/export?${pageQuery({ after }, filter)}`);
  const { checkpoint, logCertificates, peaks } = start;
  const { origin, size, root, time } = readCheckpoint(parseNote(checkpoint).text);
  const filtered = isFiltered(filter);
  const head: ExportHead = { format: exportFormat, origin, size, root, after, peaks, ...(filtered && { filter: start.filter }) };
  write(head);
  let events = 0;
  for (let position = after; position < size; ) {
    const query = pageQuery({ after: position, upTo: size, limit: rowsAtOnce, ...(filtered && { provenIn: size }) }, filter);
    const { entries, next } = await server.json<LogPage>('GET', `/v1/log/entries?${query}`);
    for (const entry of entries) write(entry);
    events += entries.length;
    if (next <= position) break;
    position = next;
  }
  const end: ExportEnd = { events, checkpoint, logCertificates };
  write(end);
  return { events, size, time };
}
