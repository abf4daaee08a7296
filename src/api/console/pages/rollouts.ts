import { html } from 'hono/html';
import { rolloutStatuses } from '../../../domain/rollout.ts';
import type { RolloutAnswer, RolloutRowAnswer } from '../../rollouts.ts';
import { actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, bar, type Column, card, deviceLink, facts, filters, heading, id, link, pager, table, toneOf } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { rolloutActions } from './rolloutActions.ts';
import { groupNames, planFacts } from './rolloutPlan.ts';

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
  const rollout = await visit.get<RolloutAnswer>(`/v1/rollouts/${rolloutId}${queryOf({ cursor: visit.query('cursor') })}`);
  const about = html`${badge(rollout.status)} ${rollout.line}${rollout.reason === null ? '' : html` · ${rollout.reason}`}`;
  const content = html`${heading(html`Rollout ${id(rolloutId)}`, about, actionsFor(visit, rollout))}
${facts([
  ['Release', link(`/console/releases/${rollout.releaseId}`, id(rollout.releaseId, 32))],
  ['Planned by', rollout.plannedBy],
  ['Content to approve', id(rollout.contentSha256, 64)],
])}
${card('Groups', groupsOf(rollout))}
${card('Plan', facts(planFacts(rollout.plan)))}
${card('Devices', html`${progressOf(rollout)}${pager(visit, rollout.next, [])}`)}`;
  return { title: `Rollout ${rolloutId}`, content, isLive: true };
}

function actionsFor(visit: Visit, { rolloutId, status }: RolloutAnswer): readonly Html[] {
  const names: Readonly<Record<string, readonly string[]>> = {
    PLANNED: ['approve-rollout', 'abort-rollout'],
    APPROVED: ['start-rollout', 'abort-rollout'],
    RUNNING: ['pause-rollout', 'abort-rollout'],
    PAUSED: ['resume-rollout', 'abort-rollout'],
    HALTED: ['abort-rollout'],
  };
  return (names[status] ?? []).map(name => actionLink(visit, rolloutActions, name, [rolloutId]));
}

/** One step for each group: passed, under way, still to come; and how far its devices are. */
function groupsOf({ groups, startedGroups, passedGroups, plan, status, groupCounts }: RolloutAnswer): Html {
  const names = groupNames(plan);
  const [begun, later] = ['ABORTED', 'COMPLETED'].includes(status) ? ['ended', 'not begun'] : ['started', 'to come'];
  const stateOf = (index: number) => (index < passedGroups ? 'passed' : index < startedGroups ? begun : later);
  return html`<ol class="steps">${Array.from({ length: groups }, (_, index) => {
    const state = stateOf(index);
    const parts = partsOf(groupCounts[index] ?? {});
    return html`<li class="${state === 'passed' ? 'good' : state === 'started' ? 'busy' : 'quiet'}"><strong>Group ${index + 1}</strong> ${names[index]}<br>${state}${
      parts.length === 0 ? '' : bar(`Devices of group ${index + 1}`, parts)
    }</li>`;
  })}</ol>`;
}

/** States in which the devices are those that the plan would reach now. */
const openPlan: ReadonlySet<string> = new Set(['PLANNED', 'APPROVED']);

const partsOf = (counts: Readonly<Record<string, number>>) =>
  Object.entries(counts).map(([name, count]) => [name, count, toneOf(name)] as const);

function progressOf({ counts, progress, status }: RolloutAnswer): Html {
  const columns: readonly Column<RolloutAnswer['progress'][number]>[] = [
    { name: 'Device', cell: ({ uid }) => deviceLink(uid) },
    { name: 'Group', cell: ({ group }) => group, kind: 'number' },
    { name: 'State', cell: ({ status }) => badge(status) },
    { name: 'Reason', cell: ({ reason: why }) => why, kind: 'text' },
  ];
  return html`${bar('Devices', partsOf(counts))}${table('Devices', columns, progress, openPlan.has(status) ? 'No device fits the plan now.' : 'No group has started yet.')}`;
}
