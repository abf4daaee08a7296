import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import { deviceStatuses } from '../../../domain/deviceStatus.ts';
import type { DeviceAnswer } from '../../deviceAnswer.ts';
import type { DeviceCountAnswer } from '../../devices.ts';
import type { Html, Page } from '../layout.ts';
import { badge, bar, type Column, deviceLink, filters, heading, id, link, pager, table, time, toneOf } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';

/** The fleet: every device with its state, firmware and last attestation; searched, filtered, sorted, and chosen for what is done to many. */

const filterNames = ['uid', 'status', 'line', 'version', 'attestation', 'tag', 'gateway', 'behind', 'job', 'release', 'sort'] as const;

export async function fleetPage(visit: Visit): Promise<Page> {
  const filter = Object.fromEntries(filterNames.map(name => [name, visit.query(name)]));
  const [{ devices, next }, { counts }] = await Promise.all([
    visit.get<{ readonly devices: readonly DeviceAnswer[]; readonly next?: string }>(
      `/v1/devices${queryOf({ ...filter, cursor: visit.query('cursor') })}`,
    ),
    visit.get<{ readonly counts: readonly DeviceCountAnswer[] }>('/v1/devices/counts'),
  ]);
  const isOfficer = visit.may('securityOfficer') && visit.person.scope === undefined;
  const content = html`${heading('Fleet', summary(counts))}
${byState(counts)}
${filters(
  visit,
  [
    { name: 'uid', label: 'UID begins with', placeholder: '32 hex digits or fewer' },
    { name: 'status', label: 'State', options: deviceStatuses },
    {
      name: 'line',
      label: 'Line',
      options: [...new Set(counts.flatMap(({ line }) => (line === undefined ? [] : [line])))].map(line => [line, line] as const),
    },
    { name: 'version', label: 'Firmware', placeholder: '1.2.0' },
    { name: 'tag', label: 'Tag', placeholder: 'pilot' },
    { name: 'gateway', label: 'Gateway', placeholder: 'hall-7' },
    { name: 'attestation', label: 'Attestation', options: ['passed', 'failed', ['none', 'never']] },
    {
      name: 'sort',
      label: 'Sort by',
      none: 'UID',
      options: [['changed', 'newest change']],
    },
  ],
  Object.keys(further),
)}
${narrowed(visit)}
${isOfficer ? bulk(devices, isFiltered(filter)) : ''}
${table('Devices', isOfficer ? [box, ...columns] : columns, devices, empty(filter))}
${pager(visit, next, filterNames)}`;
  return { title: 'Fleet', content, isLive: true };
}

/** Filters that links of other pages set. */
const further: Readonly<Record<string, (value: string) => Html>> = {
  behind: () => html`Only devices in use without the newest trust bundle.`,
  job: value => html`Only devices of job ${link(`/console/jobs/${value}`, id(value))}.`,
  release: value => html`Only devices that run release ${link(`/console/releases/${value}`, id(value))}.`,
};
function narrowed(visit: Visit): Html {
  const lines = Object.entries(further).flatMap(([name, words]) => {
    const value = visit.query(name);
    return value === undefined ? [] : [html`<p class="none">${words(value)}</p>`];
  });
  return html`${lines}`;
}

const isFiltered = (filter: Readonly<Record<string, string | undefined>>) =>
  Object.entries(filter).some(([name, value]) => name !== 'sort' && value !== undefined);

const empty = (filter: Readonly<Record<string, string | undefined>>) =>
  isFiltered(filter)
    ? 'No device fits this filter.'
    : html`No device yet. A ${link('/console/jobs', 'production job')} mints the first one.`;

function statesOf(counts: readonly DeviceCountAnswer[]): ReadonlyMap<string, number> {
  const states = new Map<string, number>();
  for (const { status, count } of counts) states.set(status, (states.get(status) ?? 0) + count);
  return states;
}

const summary = (counts: readonly DeviceCountAnswer[]): string => {
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  return counted(total, 'device');
};

/** How many devices are in each state, as one bar. */
export const byState = (counts: readonly DeviceCountAnswer[]): Html =>
  bar(
    'Devices by state',
    [...statesOf(counts)].sort((a, b) => b[1] - a[1]).map(([status, count]) => [status, count, toneOf(status)] as const),
  );

/** What is done to the chosen rows; console.js shows it once one is chosen. */
function bulk(devices: readonly DeviceAnswer[], isChosen: boolean): Html {
  if (devices.length === 0) return html``;
  return html`<form id="chosen" class="bulk" method="get" action="/console/do/propose-revocation">
<span><input type="checkbox" id="select-all"> <label for="select-all">Choose all on this page</label></span>
<span id="bulk" hidden><span id="bulk-count"></span> <button class="danger">Propose to revoke&hellip;</button></span>
${isChosen ? html`<span class="none">More than one page: revoke by line or job under ${link('/console/revocations', 'Revocations')}.</span>` : ''}
</form>`;
}

const box: Column<DeviceAnswer> = {
  name: 'Choose',
  cell: ({ uid }) =>
    html`<input class="select" form="chosen" type="checkbox" name="uids" value="${uid}" id="choose-${uid}" aria-label="Choose ${uid}">`,
};

const columns: readonly Column<DeviceAnswer>[] = [
  { name: 'UID', cell: ({ uid }) => deviceLink(uid) },
  { name: 'Line', cell: ({ line }) => line },
  { name: 'State', cell: ({ status }) => badge(status) },
  { name: 'Firmware', cell: ({ version }) => version },
  { name: 'Counter', cell: ({ securityCounter }) => securityCounter, kind: 'number' },
  { name: 'Attestation', cell: ({ attestation }) => (attestation === null ? null : badge(attestation)) },
  { name: 'Online', cell: ({ connected }) => (connected ? badge('online', 'good') : null) },
  { name: 'Last change', cell: ({ changedAt }) => time(changedAt) },
];
