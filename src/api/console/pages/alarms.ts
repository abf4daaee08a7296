import { html } from 'hono/html';
import { alarmStates } from '../../../projections/alarms.ts';
import type { AlarmCaseAnswer } from '../../alarms.ts';
import { type Action, type Actions, actionLink } from '../actions.ts';
import type { Page } from '../layout.ts';
import { badge, type Column, facts, filters, heading, id, link, pager, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { words } from './timeline.ts';

/** Alarms: what is open, who looks after it, what was put off and why. */

const filterNames = ['state', 'code', 'subject', 'assignedTo'] as const;

export async function alarmsPage(visit: Visit): Promise<Page> {
  const state = visit.query('state') ?? 'open';
  const filter = { ...Object.fromEntries(filterNames.map(name => [name, visit.query(name)])), state: state === 'all' ? undefined : state };
  const { cases, next } = await visit.get<{ readonly cases: readonly AlarmCaseAnswer[]; readonly next?: number }>(
    `/v1/alarm-cases${queryOf({ ...filter, cursor: visit.query('cursor') })}`,
  );
  const content = html`${heading('Alarms', 'Alarms of one kind about one thing are one case. A case that is closed opens again when it is raised again.')}
${filters(visit, [
  { name: 'state', label: 'Cases', none: 'open', options: [...alarmStates.filter(one => one !== 'open'), 'all'] },
  { name: 'code', label: 'Code', placeholder: 'CLONE_SUSPECTED' },
  { name: 'subject', label: 'About', placeholder: 'UID, job, gateway …' },
  { name: 'assignedTo', label: 'Assigned to', placeholder: 'alice' },
])}
${table('Alarm cases', [...caseColumns(visit), people, todo(visit)], cases, state === 'open' ? 'No alarm is open.' : 'No case fits this filter.')}
${pager(visit, next, filterNames)}`;
  return { title: 'Alarms', content, isLive: true };
}

const shownChars = 18;
const idForm = /[0-9a-f]{32}/;
const deviceSubject = /^(?:device-)?([0-9a-f]{32})$/;

export const caseColumns = (visit: Visit): readonly Column<AlarmCaseAnswer>[] => [
  {
    name: 'Alarm',
    cell: ({ code }) => html`<strong>${/[a-z]/.test(code) ? words(code) : sentence(code)}</strong><br><code class="none">${code}</code>`,
  },
  { name: 'About', cell: one => about(visit, one) },
  {
    name: 'What',
    cell: ({ detail, openUntil }) =>
      openUntil === undefined ? detail : html`${detail}<br><span class="none">for everybody to see until ${time(openUntil)}</span>`,
    kind: 'text',
  },
  { name: 'Raised', cell: ({ raised }) => `${raised}×`, kind: 'number' },
  { name: 'Newest', cell: ({ lastAt }) => time(lastAt) },
];

/** `REVOKED_CONNECT` → `Revoked connect` */
const sentence = (code: string): string => code[0] + code.slice(1).toLowerCase().replaceAll('_', ' ');

/** Kinds whose subjects have a page for who looks after people. */
const named: Readonly<Record<string, string>> = { webhook: 'webhooks', operator: 'people' };

/** A subject without a kind is a device. */
function about(visit: Visit, { subject }: Pick<AlarmCaseAnswer, 'subject'>) {
  const [, uid] = deviceSubject.exec(subject) ?? [];
  const [kind = ''] = subject.split('-');
  const found = idForm.exec(subject)?.[0];
  if (uid !== undefined) return link(`/console/fleet/${uid}`, id(subject, shownChars));
  const name = subject.slice(kind.length + 1);
  if (kind === 'gateway') return link('/console/gateways', id(subject, shownChars));
  if (kind in named && visit.may('administrator', 'auditor')) return link(`/console/${named[kind]}/${name}`, id(subject, shownChars));
  const places: Readonly<Record<string, string>> = { job: 'jobs', programmer: 'programmers', release: 'releases', rollout: 'rollouts' };
  return places[kind] === undefined || found === undefined
    ? id(subject, shownChars)
    : link(`/console/${places[kind]}/${found}`, id(subject, shownChars));
}

const people: Column<AlarmCaseAnswer> = {
  name: 'State',
  cell: ({ state, assignedTo, acknowledgedBy, note, silencedUntil, silencedReason }) =>
    html`${badge(state, state === 'open' ? 'bad' : 'quiet')}${assignedTo === undefined ? '' : html`<br>${assignedTo} looks after it`}${
      state === 'acknowledged' ? html`<br><span class="none">${acknowledgedBy}: ${note}</span>` : ''
    }${state === 'silenced' ? html`<br><span class="none">until ${time(silencedUntil)}: ${silencedReason}</span>` : ''}`,
};

const todo = (visit: Visit): Column<AlarmCaseAnswer> => ({
  name: 'Do',
  cell: ({ id, state, openUntil }) =>
    state === 'acknowledged'
      ? null
      : html`<div class="actions">${actionsOf(state, openUntil).map(name => actionLink(visit, alarmActions, name, [id]))}</div>`,
});

const actionsOf = (state: AlarmCaseAnswer['state'], openUntil: string | undefined): readonly string[] => [
  ...(openUntil === undefined || openUntil <= new Date().toISOString() ? ['acknowledge-alarm'] : []),
  'assign-alarm',
  ...(state === 'open' && openUntil === undefined ? ['silence-alarm'] : []),
];

const keepers = ['securityOfficer', 'productionPlanner', 'releaseManager'] as const;
const common = {
  roles: keepers,
  back: () => '/console/alarms',
  look: async (visit: Visit, [id]: readonly string[]) => {
    const known = await visit.get<AlarmCaseAnswer>(`/v1/alarm-cases/${id}`);
    return facts([
      ['Alarm', html`<code>${known.code}</code>`],
      ['About', about(visit, known)],
      ['What', known.detail],
      ['Raised', html`${known.raised}×, last ${time(known.lastAt)}`],
    ]);
  },
} satisfies Partial<Action>;

export const alarmActions: Actions = {
  'acknowledge-alarm': {
    ...common,
    label: 'Acknowledge',
    title: () => 'Acknowledge an alarm',
    about: 'Closes the case. It opens again when it is raised again.',
    tone: 'primary',
    fields: async (visit, [id]) => {
      const { position } = await visit.get<AlarmCaseAnswer>(`/v1/alarm-cases/${id}`);
      return [
        { name: 'position', label: '', kind: 'hidden', value: String(position) },
        { name: 'note', label: 'What was done about it' },
      ];
    },
    request: ([id], form) => ({
      method: 'POST',
      path: `/v1/alarm-cases/${id}/acknowledge`,
      body: { note: form.text('note'), position: form.number('position') },
    }),
    done: 'The alarm is acknowledged.',
  },
  'assign-alarm': {
    ...common,
    label: 'Assign',
    title: () => 'Assign an alarm',
    about: 'Says who looks after it, for everybody to see.',
    fields: async visit => [{ name: 'to', label: 'Person', value: visit.person.name }],
    request: ([id], form) => ({ method: 'POST', path: `/v1/alarm-cases/${id}/assign`, body: { to: form.text('to') } }),
    done: 'The alarm is assigned.',
  },
  'silence-alarm': {
    ...common,
    label: 'Silence',
    title: () => 'Silence an alarm',
    about: 'Keeps the case out of the open ones for a while. It stays on the list of those that are silenced.',
    fields: [
      {
        name: 'hours',
        label: 'For how long',
        kind: 'select',
        options: [
          ['1', 'an hour'],
          ['8', '8 hours'],
          ['24', 'a day'],
          ['168', 'a week'],
          ['720', '30 days'],
        ],
      },
      { name: 'reason', label: 'Reason' },
    ],
    request: ([id], form) => ({
      method: 'POST',
      path: `/v1/alarm-cases/${id}/silence`,
      body: { hours: form.number('hours'), reason: form.text('reason') },
    }),
    done: 'The alarm is silenced.',
  },
};
