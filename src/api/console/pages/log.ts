import { html } from 'hono/html';
import type { LogHealthAnswer } from '../../overview.ts';
import type { FollowerAnswer, ParkedAnswer } from '../../parkedEvents.ts';
import { type Actions, actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Column, card, facts, heading, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { contentOf, lookedAt } from './approval.ts';
import { reason } from './deviceActions.ts';

/** The log and what follows it: how far each follower is, what stops one, and events that one goes on without. */

export async function logPage(visit: Visit): Promise<Page> {
  const [health, followed, parked] = await Promise.all([
    visit.get<LogHealthAnswer>('/v1/log/health'),
    visit.getIfAllowed<{ readonly followers: readonly FollowerAnswer[] }>('/v1/log/followers'),
    visit.getIfAllowed<{ readonly parked: readonly ParkedAnswer[] }>('/v1/log/parked'),
  ]);
  const content = html`${heading('Log', 'Read models and senders follow the log; what cannot handle an event stands before it')}
${logFacts(health)}
${followed && card('Followers', table('Followers', followerColumns(visit), followed.followers, 'Nothing follows the log.'))}
${parked && card('Parked events', table('Parked events', parkedColumns(visit), parked.parked, 'No follower goes on without an event.'))}`;
  return { title: 'Log', content, isLive: true };
}

export function logFacts({ head, checkpoint, troubles }: LogHealthAnswer): Html {
  return facts([
    ['Events', head.toLocaleString('en')],
    ['Newest checkpoint', checkpoint === null ? null : html`over ${checkpoint.size.toLocaleString('en')} events, ${time(checkpoint.at)}`],
    ['Server', troubles.length === 0 ? 'ready' : html`<span class="badge bad">not ready</span> ${troubles.join('; ')}`],
  ]);
}

const parkLink = (visit: Visit, follower: string, position: number | undefined, contentSha256?: string): Html =>
  actionLink(visit, logActions, 'park-event', [], queryOf({ follower, position, contentSha256 }));

const followerColumns = (visit: Visit): readonly Column<FollowerAnswer>[] => [
  { name: 'Follower', cell: ({ name }) => name },
  { name: 'Position', cell: ({ position }) => position, kind: 'number' },
  { name: 'Behind', cell: ({ behindEvents }) => behindEvents, kind: 'number' },
  {
    name: 'State',
    cell: ({ standsBefore, failure }) =>
      standsBefore === undefined ? badge('follows', 'good') : html`${badge(`stands before ${standsBefore}`, 'bad')}<br>${failure}`,
    kind: 'text',
  },
  {
    name: 'Do',
    cell: ({ name, standsBefore }) => (standsBefore === undefined ? null : parkLink(visit, name, standsBefore)),
  },
];

const parkedColumns = (visit: Visit): readonly Column<ParkedAnswer>[] => [
  { name: 'Event', cell: ({ position }) => position, kind: 'number' },
  { name: 'Follower', cell: ({ follower }) => follower },
  { name: 'State', cell: ({ status }) => badge(status) },
  { name: 'Reason', cell: ({ reason: why }) => why, kind: 'text' },
  { name: 'Proposed', cell: ({ proposedBy, proposedAt }) => html`${proposedBy}<br>${time(proposedAt)}` },
  { name: 'Approved', cell: ({ approvedBy }) => approvedBy },
  {
    name: 'Do',
    cell: ({ follower, position, status, contentSha256 }) =>
      status === 'PROPOSED' ? parkLink(visit, follower, position, contentSha256) : null,
  },
];

export const logActions: Actions = {
  'park-event': {
    label: 'Park the event…',
    title: () => 'Let a follower go on without an event',
    about: 'The follower skips this one event. One officer proposes it; it is done when another one says the same.',
    roles: ['securityOfficer'],
    tone: 'danger',
    fields: [
      { name: 'follower', label: 'Follower' },
      { name: 'position', label: 'Position of the event', kind: 'number' },
      reason,
      lookedAt(),
    ],
    typed: () => 'park',
    back: () => '/console/log',
    request: (_, form) => ({
      method: 'POST',
      path: '/v1/log/parked',
      body: { follower: form.text('follower'), position: form.number('position'), reason: form.text('reason'), ...contentOf(form) },
    }),
    done: 'It is noted: proposed, or parked when another officer had proposed it.',
  },
};
