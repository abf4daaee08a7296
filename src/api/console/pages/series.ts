import { html } from 'hono/html';
import { seriesKinds } from '../../../domain/seriesValues.ts';
import type { SeriesAnswer } from '../../series.ts';
import { type Action, type Actions, actionLink } from '../actions.ts';
import type { Page } from '../layout.ts';
import { bar, type Column, heading, id, pager, table } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';

/** Series of values that each unit gets for itself: serial numbers, MAC addresses, labels, calibration data. */

export async function seriesPage(visit: Visit): Promise<Page> {
  const { series, next } = await visit.get<{ readonly series: readonly SeriesAnswer[]; readonly next?: string }>(
    `/v1/series${queryOf({ cursor: visit.query('cursor') })}`,
  );
  const content = html`${heading('Series', 'Values of which each unit gets one; jobs name the series', [actionLink(visit, seriesActions, 'create-series')])}
${table('Series', columns(visit), series, 'No series yet. A planner begins one and adds its values.')}
${pager(visit, next, [])}`;
  return { title: 'Series', content, isLive: true };
}

const columns = (visit: Visit): readonly Column<SeriesAnswer>[] => [
  { name: 'Series', cell: ({ name }) => html`<strong>${name}</strong>` },
  { name: 'Kind', cell: ({ kind }) => kind },
  {
    name: 'Values',
    cell: ({ count, taken }) =>
      bar(`${taken} of ${count} values are taken`, [
        ['taken', taken, 'busy'],
        ['left', count - taken, 'quiet'],
      ]),
  },
  {
    name: 'From',
    cell: ({ segments }) =>
      html`${segments.map(one => html`<div>${one.count.toLocaleString('en')} ${one.from === undefined ? html`of the list ${id(one.listSha256 ?? '')}` : `from ${one.from}`}</div>`)}`,
  },
  {
    name: 'Do',
    cell: ({ name }) =>
      html`<div class="actions">${['add-range', 'add-list'].map(action => actionLink(visit, seriesActions, action, [name]))}</div>`,
  },
];

const common = { roles: ['productionPlanner'], back: () => '/console/series' } as const satisfies Partial<Action>;

export const seriesActions: Actions = {
  'create-series': {
    ...common,
    label: 'New series',
    title: () => 'New series',
    about: 'It has no values yet: add a range or a list.',
    tone: 'primary',
    fields: [
      { name: 'name', label: 'Name', hint: 'a–z, 0–9, . and -' },
      { name: 'kind', label: 'Kind', kind: 'select', options: [...seriesKinds] },
    ],
    request: (_, form) => ({ method: 'POST', path: '/v1/series', body: { name: form.text('name'), kind: form.text('kind') } }),
    done: 'The series is begun.',
  },
  'add-range': {
    ...common,
    label: 'Add a range',
    title: ([name]) => `Add a range to ${name}`,
    about: 'The first value and how many there are. The last digits are counted; a MAC address is a number.',
    fields: [
      { name: 'from', label: 'First value', hint: 'Such as SN-000001 or 02:00:5e:10:00:00' },
      { name: 'count', label: 'Values', kind: 'number' },
    ],
    request: ([name], form) => ({
      method: 'POST',
      path: `/v1/series/${name}/range`,
      body: { from: form.text('from'), count: form.number('count') },
    }),
    done: 'The range is added.',
  },
  'add-list': {
    ...common,
    label: 'Add a list',
    title: ([name]) => `Add a list to ${name}`,
    about: 'One value on each line, at most 100 000; calibration data in hex.',
    fields: [{ name: 'list', label: 'File', kind: 'file' }],
    request: ([name], form) => ({
      method: 'PUT',
      path: `/v1/series/${name}/list`,
      body: form.file('list'),
      headers: { 'Content-Type': 'text/plain' },
    }),
    done: 'The list is added.',
  },
};
