import { html } from 'hono/html';
import { rolloutStatuses } from '../../../domain/rollout.ts';
import type { ReleaseRowAnswer } from '../../releases.ts';
import type { RolloutAnswer, RolloutRowAnswer } from '../../rollouts.ts';
import { type Action, type Actions, actionLink, type Form } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, bar, type Column, card, deviceLink, facts, filters, heading, id, link, pager, table, toneOf } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { reason } from './deviceActions.ts';

/** Rollouts: a release that reaches the fleet group by group, stopped by what goes wrong. */

export async function rolloutsPage(visit: Visit): Promise<Page> {
  const { rollouts, next } = await visit.get<{ readonly rollouts: readonly RolloutRowAnswer[]; readonly next?: string }>(
    `/v1/rollouts${queryOf({ status: visit.query('status'), cursor: visit.query('cursor') })}`,
  );
  const content = html`${heading('Rollouts', 'A published release, offered group by group', [actionLink(visit, rolloutActions, 'plan-rollout')])}
${filters(visit, [{ name: 'status', label: 'State', options: rolloutStatuses }])}
${table('Rollouts', rolloutColumns, rollouts, 'No rollout fits. Plan one from a published release.')}
${pager(visit, next, ['status'])}`;
  return { title: 'Rollouts', content, isLive: true };
}

export const rolloutColumns: readonly Column<RolloutRowAnswer>[] = [
  {
    name: 'Rollout',
    cell: ({ rolloutId }) =>
      html`<a id="rollout-${rolloutId}" href="/console/rollouts/${rolloutId}"><code>${rolloutId.slice(0, 12)}…</code></a>`,
  },
  { name: 'Line', cell: ({ line }) => line },
  {
    name: 'State',
    cell: ({ status, reason: why }) => html`${badge(status)}${why === null ? '' : html`<br><span class="none">${why}</span>`}`,
  },
  { name: 'Release', cell: ({ releaseId }) => link(`/console/releases/${releaseId}`, id(releaseId)) },
  {
    name: 'Groups',
    cell: ({ passedGroups, startedGroups, groups }) => `${passedGroups} passed, ${startedGroups} of ${groups} started`,
    kind: 'number',
  },
  { name: 'Devices', cell: ({ devices }) => devices, kind: 'number' },
  { name: 'Planned by', cell: ({ plannedBy }) => plannedBy },
];

export async function rolloutPage(visit: Visit, { id: rolloutId = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const rollout = await visit.get<RolloutAnswer>(`/v1/rollouts/${rolloutId}`);
  const about = html`${badge(rollout.status)} ${rollout.line}${rollout.reason === null ? '' : html` · ${rollout.reason}`}`;
  const content = html`${heading(html`Rollout ${id(rolloutId)}`, about, actionsFor(visit, rollout))}
${facts([
  ['Release', link(`/console/releases/${rollout.releaseId}`, id(rollout.releaseId, 32))],
  ['Planned by', rollout.plannedBy],
  ['Content to approve', id(rollout.contentSha256, 64)],
])}
${card('Groups', groupsOf(rollout))}
${card('Devices of the groups that have started', progressOf(rollout))}`;
  return { title: `Rollout ${rolloutId}`, content, isLive: true };
}

function actionsFor(visit: Visit, { rolloutId, status }: RolloutAnswer): readonly Html[] {
  const names: Readonly<Record<string, readonly string[]>> = {
    PLANNED: ['approve-rollout', 'abort-rollout'],
    APPROVED: ['start-rollout', 'abort-rollout'],
    RUNNING: ['pause-rollout', 'abort-rollout'],
    PAUSED: ['resume-rollout', 'abort-rollout'],
  };
  return (names[status] ?? []).map(name => actionLink(visit, rolloutActions, name, [rolloutId]));
}

/** One step for each group: passed, under way, still to come. */
function groupsOf({ groups, startedGroups, passedGroups }: RolloutAnswer): Html {
  const stateOf = (index: number) => (index < passedGroups ? 'passed' : index < startedGroups ? 'started' : 'to come');
  return html`<ol class="steps">${Array.from({ length: groups }, (_, index) => {
    const state = stateOf(index);
    return html`<li class="${state === 'passed' ? 'good' : state === 'started' ? 'busy' : 'quiet'}"><strong>Group ${index + 1}</strong> ${state}</li>`;
  })}</ol>`;
}

function progressOf({ counts, progress }: RolloutAnswer): Html {
  const columns: readonly Column<RolloutAnswer['progress'][number]>[] = [
    { name: 'Device', cell: ({ uid }) => deviceLink(uid) },
    { name: 'State', cell: ({ status }) => badge(status) },
    { name: 'Reason', cell: ({ reason: why }) => why, kind: 'text' },
  ];
  const parts = Object.entries(counts).map(([name, count]) => [name, count, toneOf(name)] as const);
  return html`${bar('Devices', parts)}${table('Devices', columns, progress, 'No group has started yet.')}`;
}

const managers = ['releaseManager'] as const;
const back = ([rolloutId]: readonly string[]) => `/console/rollouts/${rolloutId}`;
const idOf = ([rolloutId = '']: readonly string[]) => rolloutId.slice(0, 12);

const step = (
  name: string,
  action: Pick<Action, 'label' | 'about' | 'done' | 'tone' | 'fields' | 'typed'> & { readonly verb: string },
): Action => ({
  ...action,
  title: ids => `${action.verb} rollout ${idOf(ids)}`,
  roles: managers,
  back,
  request: ([rolloutId], form) => ({
    method: 'POST',
    path: `/v1/rollouts/${rolloutId}/${name}`,
    ...(form.text('reason') !== undefined && { body: { reason: form.text('reason') } }),
  }),
});

function planOf(form: Form): object {
  const groups = form.list('groups').map(Number);
  const devices = form.list('devices');
  const percent = (name: string) => (form.text(name) === undefined ? undefined : Number(form.text(name)));
  return {
    releaseId: form.text('releaseId'),
    ...(devices.length > 0 ? { devices } : { groups }),
    successPercent: percent('successPercent'),
    failurePercent: percent('failurePercent'),
    maxFailures: form.number('maxFailures'),
    ratePerMinute: form.number('ratePerMinute'),
    ...(form.text('deadline') !== undefined && { deadline: `${form.text('deadline')}T00:00:00Z` }),
    ...(form.text('securityUpdate') === 'true' && { securityUpdate: true }),
    ...(form.text('permitDowngrade') === 'true' && { permitDowngrade: true }),
    ...(form.text('permitCounterJump') === 'true' && { permitCounterJump: true }),
  };
}

export const rolloutActions: Actions = {
  'plan-rollout': {
    label: 'Plan a rollout',
    title: () => 'Plan a rollout',
    about: 'Says who gets a release in which order, and what stops it. Another release manager approves the plan.',
    roles: managers,
    tone: 'primary',
    fields: async visit => {
      const { releases } = await visit.get<{ readonly releases: readonly ReleaseRowAnswer[] }>('/v1/releases?limit=500');
      const published = releases.filter(({ status, image }) => status === 'PUBLISHED' && image === 'app');
      return [
        {
          name: 'releaseId',
          label: 'Release',
          kind: 'select',
          options: published.map(one => [one.releaseId, `${one.line} ${one.version}`] as const),
        },
        {
          name: 'groups',
          label: 'Groups, in percent of the line',
          value: '1 10 100',
          hint: 'Each percentage is a group: 1 10 100 begins with one of a hundred.',
          isOptional: true,
        },
        { name: 'devices', label: 'Or these devices only', kind: 'lines', isOptional: true, hint: 'One UID on each line, at most 1000.' },
        { name: 'successPercent', label: 'A group passes at (percent upgraded)', kind: 'number', isOptional: true },
        { name: 'failurePercent', label: 'It halts above (percent failed)', kind: 'number', isOptional: true },
        { name: 'maxFailures', label: 'It halts above (devices failed)', kind: 'number', isOptional: true },
        { name: 'ratePerMinute', label: 'At most so many offers a minute', kind: 'number', isOptional: true },
        { name: 'deadline', label: 'It has to be through by', kind: 'date', isOptional: true },
        { name: 'securityUpdate', label: 'It is a security update', kind: 'check' },
        { name: 'permitDowngrade', label: 'It may lead to an older version (never to a lower security counter)', kind: 'check' },
        { name: 'permitCounterJump', label: 'The security counter may rise by more than the step of the line', kind: 'check' },
      ];
    },
    back: () => '/console/rollouts',
    request: (_, form) => ({ method: 'POST', path: '/v1/rollouts', body: planOf(form) }),
    to: ({ rolloutId }) => `/console/rollouts/${rolloutId}`,
    done: 'The rollout is planned. Another release manager approves it.',
  },
  'approve-rollout': {
    label: 'Approve',
    title: ids => `Approve rollout ${idOf(ids)}`,
    about: 'Another person than the one who planned it says that it may start.',
    roles: managers,
    tone: 'primary',
    look: async (visit, [rolloutId]) => {
      const rollout = await visit.get<RolloutAnswer>(`/v1/rollouts/${rolloutId}`);
      return facts([
        ['Line', rollout.line],
        ['Release', link(`/console/releases/${rollout.releaseId}`, id(rollout.releaseId, 32))],
        ['Groups', rollout.groups],
        ['Planned by', rollout.plannedBy],
        ['Content', id(rollout.contentSha256, 32)],
      ]);
    },
    fields: async (visit, [rolloutId]) => {
      const { contentSha256 } = await visit.get<RolloutAnswer>(`/v1/rollouts/${rolloutId}`);
      return [{ name: 'contentSha256', label: '', kind: 'hidden', value: contentSha256 }];
    },
    back,
    request: ([rolloutId], form) => ({
      method: 'POST',
      path: `/v1/rollouts/${rolloutId}/approve`,
      body: { contentSha256: form.text('contentSha256') },
    }),
    done: 'The rollout is approved.',
  },
  'start-rollout': step('start', {
    label: 'Start',
    verb: 'Start',
    about: 'The first group is offered the release.',
    tone: 'primary',
    done: 'The rollout has started.',
  }),
  'resume-rollout': step('resume', {
    label: 'Resume',
    verb: 'Resume',
    about: 'Goes on where it was paused.',
    tone: 'primary',
    done: 'The rollout goes on.',
  }),
  'pause-rollout': step('pause', {
    label: 'Pause',
    verb: 'Pause',
    about: 'What has not been delivered is held back. Devices that are at it finish.',
    fields: [reason],
    done: 'The rollout is paused.',
  }),
  'abort-rollout': step('abort', {
    label: 'Abort…',
    verb: 'Abort',
    about: 'Ends the rollout: nobody else is offered the release by it. This cannot be undone.',
    tone: 'danger',
    fields: [reason],
    typed: idOf,
    done: 'The rollout is aborted.',
  }),
};
