import { html } from 'hono/html';
import { reportSteps } from '../../../domain/vulnerability.ts';
import type { WhereAnswer } from '../../components.ts';
import type { VulnerabilityAnswer, VulnerabilityRowAnswer } from '../../vulnerabilities.ts';
import { type Actions, actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Column, card, deviceLink, facts, filters, heading, link, pager, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { reason } from './deviceActions.ts';

/** Vulnerabilities of components: what they reach in the fleet, and which reports are due. */

export async function vulnerabilitiesPage(visit: Visit): Promise<Page> {
  const query = queryOf({ status: visit.query('status'), cursor: visit.query('cursor') });
  const list = await visit.getIfAllowed<{ readonly vulnerabilities: readonly VulnerabilityRowAnswer[]; readonly next?: string }>(
    `/v1/vulnerabilities${query}`,
  );
  const component = visit.query('component');
  const where =
    component === undefined ? undefined : await visit.get<WhereAnswer>(`/v1/fleet/where${queryOf({ component, limit: shownDevices })}`);
  const actions = [actionLink(visit, vulnerabilityActions, 'open-vulnerability')];
  const content = html`${heading('Vulnerabilities', 'What is known of components, where they are, and which reports are due', actions)}
${filters(visit, [
  { name: 'status', label: 'State', options: ['OPEN', 'CLOSED'] },
  { name: 'component', label: 'Where is', placeholder: 'openssl@3.0.1' },
])}
${where && card(`Where ${component} is`, whereIs(where))}
${list === undefined ? html`<p class="empty">Officers, release managers and auditors see the cases.</p>` : html`${table('Cases', columns, list.vulnerabilities, 'No case. One is opened from a note: CSAF 2.0 or OSV.')}${pager(visit, list.next, ['status'])}`}`;
  return { title: 'Vulnerabilities', content, isLive: true };
}

const shownDevices = 20;

/** Releases and devices with a component; all devices of a release are one filter of the fleet away. */
function whereIs({ releases, devices, deviceCount, releasesWithoutSbom }: WhereAnswer): Html {
  const deviceColumns: readonly Column<WhereAnswer['devices'][number]>[] = [
    { name: 'Device', cell: ({ uid }) => deviceLink(uid) },
    { name: 'Line', cell: ({ line }) => line },
    { name: 'State', cell: ({ status }) => badge(status) },
    { name: 'Firmware', cell: ({ version }) => version },
  ];
  const more =
    deviceCount > devices.length ? html`<p class="none">The first ${devices.length}; all of a release are in the fleet.</p>` : '';
  return html`${facts([
    ['Devices in use', deviceCount],
    ['Releases of which nothing is known', releasesWithoutSbom],
  ])}${table('Releases with the component', releaseColumns, releases, 'No release has it, as far as their bills of materials say.')}
${devices.length === 0 ? '' : table('Devices with the component', deviceColumns, devices, '')}${more}`;
}

const columns: readonly Column<VulnerabilityRowAnswer>[] = [
  { name: 'Case', cell: ({ id }) => html`<strong>${link(`/console/vulnerabilities/${id}`, id)}</strong>` },
  { name: 'State', cell: ({ status }) => badge(status, status === 'OPEN' ? 'busy' : 'good') },
  { name: 'Opened', cell: ({ openedAt }) => time(openedAt) },
  { name: 'Title', cell: ({ title }) => title, kind: 'text' },
];

export async function vulnerabilityPage(visit: Visit, { case: id = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const one = await visit.get<VulnerabilityAnswer>(`/v1/vulnerabilities/${id}`);
  const names = one.status === 'OPEN' ? ['report-vulnerability', 'close-vulnerability'] : [];
  const actions = names.map(name => actionLink(visit, vulnerabilityActions, name, [id]));
  const content = html`${heading(id, html`${link('/console/vulnerabilities', 'Vulnerabilities')} ${badge(one.status, one.status === 'OPEN' ? 'busy' : 'good')}`, actions)}
${facts([
  ['Title', one.title],
  ['Also known as', one.aliases.join(', ')],
  ['Known since', time(one.awareAt)],
  ['Lines', one.lines.join(', ')],
  ['Devices that run it', one.devices],
  ['Devices of which nothing is known', one.unknownDevices],
  ['Mended by', one.fix && link(`/console/releases/${one.fix.releaseId}`, one.fix.releaseId.slice(0, 12))],
  ['Closed because', one.closedBecause],
])}
${card('Reports', table('Reports', reportColumns, one.reports, 'None is due.'))}
${card('Affected releases', table('Releases', releaseColumns, one.releases, 'No release has such a component, as far as their bills of materials say.'))}`;
  return { title: id, content, isLive: true };
}

type Report = VulnerabilityAnswer['reports'][number];
const reportColumns: readonly Column<Report>[] = [
  { name: 'Report', cell: ({ step }) => step },
  { name: 'Due', cell: ({ dueAt }) => time(dueAt) },
  {
    name: 'State',
    cell: ({ at, missed }) => (at !== undefined ? badge('made', 'good') : missed ? badge('missed', 'bad') : badge('due', 'busy')),
  },
  { name: 'Made', cell: ({ at, by }) => (at === undefined ? null : html`${time(at)}<br>${by}`) },
  { name: 'Note', cell: ({ note }) => note, kind: 'text' },
];

type Affected = VulnerabilityAnswer['releases'][number];
const releaseColumns: readonly Column<Affected>[] = [
  { name: 'Release', cell: ({ releaseId, version }) => link(`/console/releases/${releaseId}`, version) },
  { name: 'Line', cell: ({ line, image }) => `${line} ${image}` },
  { name: 'State', cell: ({ status }) => badge(status) },
  {
    name: 'Components',
    cell: ({ components }) => components.map(({ name, version = '' }) => `${name} ${version}`).join(', '),
    kind: 'text',
  },
  {
    name: 'Devices',
    cell: ({ devices, releaseId }) => link(`/console/fleet?release=${releaseId}`, String(devices)),
    kind: 'number',
  },
];

const keepers = ['securityOfficer', 'releaseManager'] as const;
const back = ([id]: readonly string[]): string => `/console/vulnerabilities/${id}`;

export const vulnerabilityActions: Actions = {
  'open-vulnerability': {
    label: 'Open a case',
    title: () => 'Open a case',
    about: 'From a note of the supplier or of a database, CSAF 2.0 or OSV. The clock of the reports begins when it became known.',
    roles: keepers,
    tone: 'primary',
    fields: [
      { name: 'file', label: 'Note', kind: 'file', hint: 'JSON' },
      { name: 'awareAt', label: 'Known since', isOptional: true, hint: 'Such as 2026-11-29T08:00:00Z; without it now.' },
    ],
    back: () => '/console/vulnerabilities',
    request: (_, form) => ({
      method: 'POST',
      path: `/v1/vulnerabilities${queryOf({ awareAt: form.text('awareAt') })}`,
      body: form.file('file'),
      headers: { 'Content-Type': 'application/json' },
    }),
    to: ({ id }) => `/console/vulnerabilities/${id}`,
    done: 'The case is open.',
  },
  'report-vulnerability': {
    label: 'A report was made',
    title: ([id]) => `A report about ${id} was made`,
    about: 'Records it, so that it is not called for any more.',
    roles: keepers,
    tone: 'primary',
    fields: [
      { name: 'step', label: 'Which', kind: 'select', options: reportSteps.map(step => [step, step] as const) },
      { name: 'note', label: 'To whom, under which number' },
    ],
    back,
    request: ([id], form) => ({
      method: 'POST',
      path: `/v1/vulnerabilities/${id}/report`,
      body: { step: form.text('step'), note: form.text('note') },
    }),
    done: 'The report is recorded.',
  },
  'close-vulnerability': {
    label: 'Close…',
    title: ([id]) => `Close ${id}`,
    about: 'It does not concern the product. A case whose fix is on every device closes by itself.',
    roles: keepers,
    tone: 'danger',
    fields: [reason],
    back,
    request: ([id], form) => ({ method: 'POST', path: `/v1/vulnerabilities/${id}/close`, body: { reason: form.text('reason') } }),
    done: 'The case is closed.',
  },
};
