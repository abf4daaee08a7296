import { groupWords } from '../domain/rolloutText.ts';
import { ask, type ServerOptions } from './client.ts';
import { print, record, styled, table } from './output.ts';

/** One rollout as a person sees it: the plan, its groups, its devices. */

type Progress = { readonly uid: string; readonly status: string; readonly reason: string | null; readonly group: number };
export type Rollout = {
  readonly rolloutId: string;
  /** Of the plan, for its approval. */
  readonly contentSha256: string;
  readonly releaseId: string;
  readonly line: string;
  readonly status: string;
  readonly groups: number;
  readonly startedGroups: number;
  readonly passedGroups: number;
  readonly groupCounts: readonly Readonly<Record<string, number>>[];
  readonly devices: number;
  readonly plan: Readonly<Record<string, unknown>>;
  readonly progress: readonly Progress[];
  readonly next?: string;
};
/** With what comes next. @param remarks printed before that, for people */
export async function showRollout(options: ServerOptions, { next, ...answer }: Rollout, remarks: readonly string[] = []): Promise<void> {
  const progress = [...answer.progress, ...(await devicesFrom(options, answer.rolloutId, next))];
  const { plan, progress: _, groupCounts, ...facts } = answer;
  const { groups, ...planned } = plan;
  const rows = progress.map(({ uid: device, group, status, reason }) => [device, group, status, reason]);
  const parts = [
    record({ ...facts, ...planned }),
    `${styled('bold', 'groups')}\n${table(['GROUP', 'DEVICES', 'STATE', 'HOW FAR'], groupRows(answer))}`,
    `${styled('bold', 'devices')}\n${table(['UID', 'GROUP', 'STATUS', 'REASON'], rows)}`,
    ...remarks,
    ...nextStep(answer),
  ];
  print(options, { ...answer, progress }, parts.join('\n\n'));
}

function nextStep({ status, rolloutId, contentSha256 }: Omit<Rollout, 'next'>): readonly string[] {
  if (status === 'PLANNED') return [`another release manager approves it: nusec rollout approve ${rolloutId} --content ${contentSha256}`];
  return status === 'APPROVED' ? [`start it: nusec rollout start ${rolloutId}`] : [];
}

const groupRows = ({ plan, startedGroups, passedGroups, groupCounts }: Rollout) =>
  (plan.groups as Parameters<typeof groupWords>[0][]).map((group, index) => [
    index + 1,
    groupWords(group),
    index < passedGroups ? 'passed' : index < startedGroups ? 'started' : 'to come',
    Object.entries(groupCounts[index] ?? {})
      .map(([name, count]) => `${count} ${name}`)
      .join(', '),
  ]);

/** The devices of the next pages. */
async function devicesFrom(options: ServerOptions, id: string, cursor: string | undefined): Promise<readonly Progress[]> {
  if (cursor === undefined) return [];
  const { progress, next } = await ask<Rollout>(options, 'GET', `/v1/rollouts/${id}?cursor=${cursor}`);
  return [...progress, ...(await devicesFrom(options, id, next))];
}
