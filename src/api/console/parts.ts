import { html } from 'hono/html';
import type { Html } from './layout.ts';
import { queryOf, type Visit } from './visit.ts';

/** What pages are made of: headings, tables, facts, badges, bars, forms that filter. Each looks the same on every page. */

export type Cell = Html | string | number | null | undefined;
/** A page of ASCII alone is put together, sent and read in half of the time that one other character costs: what every page has is written so. */
const shown = (cell: Cell): Cell =>
  cell === null || cell === undefined || cell === '' ? html`<span class="none blank">&ndash;</span>` : cell;

/** The head of a page: its name, a line about it, and what can be done here. */
export const heading = (title: Cell, about: Cell, actions: readonly Html[] = []): Html =>
  html`<div class="head"><div><h1>${title}</h1>${about ? html`<p class="about">${about}</p>` : ''}</div>${
    actions.length === 0 ? '' : html`<div class="actions">${actions}</div>`
  }</div>`;

export const card = (title: string, content: Html, actions: readonly Html[] = []): Html =>
  html`<section class="card"><div class="head"><h2>${title}</h2>${actions.length === 0 ? '' : html`<div class="actions">${actions}</div>`}</div>${content}</section>`;

export type Column<Row> = {
  readonly name: string;
  readonly cell: (row: Row) => Cell;
  /** Numbers are at the right; text breaks where it has to. */
  readonly kind?: 'number' | 'text';
};

/** A table, or a sentence that says why it is empty and what fills it. On a narrow screen each row is a card. */
export function table<Row>(caption: string, columns: readonly Column<Row>[], rows: readonly Row[], empty: Cell): Html {
  if (rows.length === 0) return html`<p class="empty">${empty}</p>`;
  const classOf = ({ kind }: Column<Row>) => (kind === undefined ? '' : html`class="${kind}"`);
  const head = columns.map(column => html`<th scope="col" ${classOf(column)}>${column.name}</th>`);
  const line = (row: Row) =>
    html`<tr>${columns.map(column => html`<td data-name="${column.name}" ${classOf(column)}><div>${shown(column.cell(row))}</div></td>`)}</tr>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table><caption class="unseen">${caption}</caption><thead><tr>${head}</tr></thead><tbody>${rows.map(line)}</tbody></table></div>`;
}

export const facts = (entries: readonly (readonly [string, Cell])[]): Html =>
  html`<dl class="facts">${entries.map(([name, value]) => html`<div><dt>${name}</dt><dd>${shown(value)}</dd></div>`)}</dl>`;

/** A status as a coloured badge; the word is there for those who see no colour. */
export const badge = (word: string, tone: Tone = toneOf(word)): Html => html`<span class="badge ${tone}">${readable(word)}</span>`;

export type Tone = 'good' | 'busy' | 'bad' | 'quiet';
const tones: Readonly<Record<Exclude<Tone, 'quiet'>, readonly string[]>> = {
  good: 'IN_SERVICE STOCK PROVISIONED ACTIVE PUBLISHED COMPLETED RECONCILED DONE passed verified issued upgraded active healthy RELEASED COMMITTED'.split(
    ' ',
  ),
  busy: 'MINTED CERTIFIED ROOTED LOCKED UPGRADING RMA RUNNING PROPOSED PLANNED APPROVED UPLOADED DRAFT PAUSED SUSPENDED open acknowledged pending RETURNING REGISTERED SHIPPED unproven offered started written testing waiting EXHAUSTED ESTABLISHED'.split(
    ' ',
  ),
  bad: 'REVOKED QUARANTINED SCRAPPED FAILED HALTED STOLEN COMPROMISED failed damaged revoked refused DISCREPANT FROZEN compromised'.split(
    ' ',
  ),
};
export const toneOf = (word: string): Tone =>
  (Object.keys(tones) as (keyof typeof tones)[]).find(tone => tones[tone].some(one => one.toUpperCase() === word.toUpperCase())) ?? 'quiet';
const readable = (word: string): string => (/^[A-Z_]+$/.test(word) ? word.toLowerCase().replaceAll('_', ' ') : word);

/** Of what does not end (RFC 5280 §4.1.2.5). */
const noEnd = '9999-12-31';
export const isWithoutEnd = (iso: string): boolean => iso.startsWith(noEnd);

/** `2026-01-31 12:00:00` in UTC with the full ISO text behind it; console.js shows it in the reader's own time. */
export function time(iso: string | null | undefined): Cell {
  if (!iso) return undefined;
  if (isWithoutEnd(iso)) return 'without end';
  return html`<time datetime="${iso}" title="${iso}"><span>${iso.slice(0, 10)}</span> <span>${iso.slice(11, 19)}</span></time>`;
}

/** A long id, short enough to read; the whole of it is in the title. */
export const id = (text: string, chars = 12): Html =>
  html`<code title="${text}">${text.length > chars + 1 ? `${text.slice(0, chars)}…` : text}</code>`;

export const link = (href: string, text: Cell): Html => html`<a href="${href}">${text}</a>`;
export const deviceLink = (uid: string): Html => html`<a class="uid" id="device-${uid}" href="/console/fleet/${uid}">${uid}</a>`;

/** Parts of a whole as one bar, with their numbers beneath. */
export function bar(caption: string, parts: readonly (readonly [string, number, Tone])[]): Html {
  const total = parts.reduce((sum, [, count]) => sum + count, 0);
  const filled = parts.filter(([, count]) => count > 0);
  let x = 0;
  const pieces = filled.map(([name, count, tone]) => {
    const width = (100 * count) / total;
    x += width;
    return html`<rect class="${tone}" x="${(x - width).toFixed(3)}" y="0" width="${width.toFixed(3)}" height="6"><title>${name}: ${count}</title></rect>`;
  });
  return html`<figure class="bar-figure"><svg viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="${caption}">${
    total === 0 ? html`<rect class="track" x="0" y="0" width="100" height="6"/>` : pieces
  }</svg><figcaption>${filled.length === 0 ? 'nothing yet' : filled.map(([name, count, tone]) => html`<span class="${tone}"><strong>${count}</strong> ${readable(name)}</span>`)}</figcaption></figure>`;
}

/** A number that matters, with what it counts, and where more of it is. */
export const figure = (value: Cell, name: string, href: string, tone: Tone = 'quiet'): Html =>
  html`<a class="figure ${tone}" href="${href}"><strong>${value}</strong><span>${name}</span></a>`;

export type FilterField = {
  readonly name: string;
  readonly label: string;
  /** A closed list; free text without. */
  readonly options?: readonly (string | readonly [string, string])[];
  /** What the empty choice is called. */
  readonly none?: string;
  readonly placeholder?: string;
};

/** Fields that choose what a list shows: a plain GET, so the address can be kept and sent. @param kept filters without a field, which links of other
 *  pages set: they count until they are cleared */
export function filters(visit: Visit, fields: readonly FilterField[], kept: readonly string[] = []): Html {
  const one = ({ name, label, options, none = 'any', placeholder }: FilterField) => {
    const value = visit.query(name) ?? '';
    const input =
      options === undefined
        ? html`<input id="filter-${name}" name="${name}" value="${value}" placeholder="${placeholder ?? ''}" autocomplete="off" spellcheck="false">`
        : html`<select id="filter-${name}" name="${name}">${optionsOf([['', none], ...options], value)}</select>`;
    return html`<div><label for="filter-${name}">${label}</label>${input}</div>`;
  };
  const given = kept.flatMap(name => {
    const value = visit.query(name);
    return value === undefined ? [] : [html`<input type="hidden" name="${name}" value="${value}">`];
  });
  const isFiltered = given.length > 0 || fields.some(({ name }) => visit.query(name) !== undefined);
  return html`<form class="filters" method="get" action="${visit.path}" role="search">${fields.map(one)}${given}<div class="buttons"><button>Show</button>${
    isFiltered ? html`<a href="${visit.path}">Clear</a>` : ''
  }</div></form>`;
}

export const optionsOf = (options: readonly (string | readonly [string, string])[], value: string): readonly Html[] =>
  options.map(option => {
    const [key, text] = typeof option === 'string' ? [option, readable(option)] : option;
    return html`<option value="${key}" ${key === value ? html`selected` : ''}>${text}</option>`;
  });

/** The way to the next rows; nothing when all are shown. @param cursor of the API @param kept names of the filters */
export function pager(visit: Visit, cursor: string | number | undefined, kept: readonly string[]): Html {
  const filter = Object.fromEntries(kept.map(name => [name, visit.query(name)]));
  const first = visit.query('cursor') === undefined ? '' : html`<a href="${visit.path}${queryOf(filter)}">First page</a>`;
  const next =
    cursor === undefined ? '' : html`<a id="next-page" rel="next" href="${visit.path}${queryOf({ ...filter, cursor })}">Next page</a>`;
  return first === '' && next === '' ? html`` : html`<nav class="pager" aria-label="Pages">${first}${next}</nav>`;
}
