import { html } from 'hono/html';
import type { Html, Page } from '../layout.ts';
import { type Column, filters, heading, id, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { linesOfJson, streamed } from './download.ts';
import { rowsOfLog } from './logPages.ts';
import { words } from './timeline.ts';

/** Who did what: the log itself, filtered, newest first as far as it is looked at, and exported. */

type Entry = {
  readonly position: number;
  readonly stream: string;
  readonly type: string;
  readonly at: string;
  readonly by: string;
  readonly data: Readonly<Record<string, unknown>>;
};
type Entries = { readonly entries: readonly Entry[]; readonly next: number; readonly head: number };

const filterNames = ['by', 'type', 'stream'] as const;
const rows = 100;
const exportRows = 500;

/** `alice` → `operator:alice`; what has a colon stays. Patterns have `*`. */
const actorOf = (by: string | undefined): string | undefined => (by === undefined || /[:*]/.test(by) ? by : `operator:${by}`);

const filterOf = (visit: Visit) => ({ by: actorOf(visit.query('by')), type: visit.query('type'), stream: visit.query('stream') });

export async function auditPage(visit: Visit): Promise<Page> {
  const filter = filterOf(visit);
  const isFiltered = Object.values(filter).some(value => value !== undefined);
  const { head } = await visit.get<Entries>('/v1/log/entries?limit=1');
  // Without a filter the newest ones; with one, from the beginning, page by page.
  const from = visit.query('after') ?? (isFiltered ? '0' : String(Math.max(0, head - rows)));
  const page = await visit.get<Entries>(`/v1/log/entries${queryOf({ ...filter, after: from, limit: rows, readable: 'true' })}`);
  const given = Object.fromEntries(filterNames.map(name => [name, visit.query(name)]));
  const links = [
    ...(Number(from) > 0
      ? [html`<a href="/console/audit${queryOf({ ...given, after: String(Math.max(0, Number(from) - rows)) })}">Older</a>`]
      : []),
    ...(page.next < head ? [html`<a rel="next" href="/console/audit${queryOf({ ...given, after: page.next })}">Newer</a>`] : []),
  ];
  const downloads = (['csv', 'jsonl'] as const).map(
    kind =>
      html`<a class="button" href="/console/audit/export${queryOf({ ...given, as: kind })}" download>${kind === 'csv' ? 'CSV' : 'JSON Lines'}</a>`,
  );
  const content = html`${heading('Audit', `${head.toLocaleString('en')} events; each is chained to the one before, and all are under signed checkpoints`, downloads)}
${filters(visit, [
  { name: 'by', label: 'Who', placeholder: 'alice, device:* …' },
  { name: 'type', label: 'What', placeholder: 'CertificateRevoked, Operator* …' },
  { name: 'stream', label: 'Where', placeholder: 'device-…, job-* …' },
])}
${table('Events', columns, [...page.entries].reverse(), page.next < head ? 'None of these fits; go on with Newer.' : 'No event fits this filter.')}
<nav class="pager" aria-label="Pages">${links}</nav>`;
  return { title: 'Audit', content };
}

const columns: readonly Column<Entry>[] = [
  { name: 'No.', cell: ({ position }) => position, kind: 'number' },
  { name: 'Time', cell: ({ at }) => time(at) },
  { name: 'Who', cell: ({ by }) => who(by) },
  { name: 'What', cell: ({ type }) => html`<strong>${words(type)}</strong>` },
  { name: 'Where', cell: ({ stream }) => id(stream, 24) },
  { name: 'Details', cell: ({ data }) => detailsOf(data), kind: 'text' },
];

/** A device has 32 digits: the column of what happened needs the room. */
const whoChars = 24;
const who = (by: string) => (by.length > whoChars + 1 ? html`<span title="${by}">${by.slice(0, whoChars)}&hellip;</span>` : by);

const shownChars = 60;
function detailsOf(data: Readonly<Record<string, unknown>>): Html {
  const entries = Object.entries(data);
  if (entries.length === 0) return html``;
  return html`<details><summary>${entries.length} ${entries.length === 1 ? 'field' : 'fields'}</summary><dl class="small">${entries.map(
    ([name, value]) => {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return html`<div><dt>${name}</dt><dd><code>${text.length > shownChars * 4 ? `${text.slice(0, shownChars * 4)}…` : text}</code></dd></div>`;
    },
  )}</dl></details>`;
}

/** What fits the filter, as CSV (RFC 4180) or JSON Lines: all of it, up to the end that the log had then. */
export function auditExport(visit: Visit): Promise<Response> {
  const isCsv = visit.query('as') !== 'jsonl';
  const filter = filterOf(visit);
  const entries = () =>
    rowsOfLog(
      visit,
      after => `/v1/log/entries${queryOf({ ...filter, after, limit: exportRows, readable: 'true' })}`,
      (page: Entries) => page.entries,
    );
  if (!isCsv) return linesOfJson('audit.jsonl', entries);
  return streamed('audit.csv', 'text/csv; charset=utf-8; header=present', async function* () {
    yield 'position,at,by,type,stream,data\r\n';
    for await (const entry of entries()) yield `${csvLine(entry)}\r\n`;
  });
}

const csvLine = ({ position, at, by, type, stream, data }: Entry): string =>
  [position, at, by, type, stream, JSON.stringify(data)].map(value => csvField(String(value))).join(',');

/** A field that a spreadsheet would run as a formula is disarmed by a quote mark. */
function csvField(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
