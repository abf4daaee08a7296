import { html } from 'hono/html';
import { roles } from '../../../domain/roles.ts';
import { agentWords } from '../../../userAgent.ts';
import type { CredentialAnswer } from '../../credentials.ts';
import type { SessionAnswer } from '../../operatorSessions.ts';
import { type Actions, actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Column, card, heading, table, time } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { credentialsCard } from './credentials.ts';

/** Where people are signed in: browsers, and commands by `nusec login`. */

const me = '/console/people/me';

/** @param owner another person's; one's own without */
export const sessionsCard = (visit: Visit, title: string, sessions: readonly SessionAnswer[], owner?: string): Html =>
  card(title, table('Sessions', columns(visit, owner), sessions, 'Nowhere.'));

/** Another person, for administrators and auditors. */
export async function personPage(visit: Visit, { name = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const { credentials } = await visit.get<{ readonly credentials: readonly CredentialAnswer[] }>(`/v1/operators/${name}/credentials`);
  const { sessions } = await visit.get<{ readonly sessions: readonly SessionAnswer[] }>(`/v1/operators/${name}/sessions`);
  const content = html`${heading(name, html`<a href="/console/people">People</a>`)}
${credentialsCard(visit, 'Signs in with', credentials, name)}
${sessionsCard(visit, 'Is signed in', sessions, name)}`;
  return { title: name, content };
}

const uses: Readonly<Record<SessionAnswer['use'], string>> = { console: 'Browser', command: 'Command' };
const ways: Readonly<Record<SessionAnswer['way'], string>> = { token: 'by token', provider: 'by your organization' };

const columns = (visit: Visit, owner: string | undefined): readonly Column<SessionAnswer>[] => [
  {
    name: 'Where',
    cell: ({ use, isThis, agent }) =>
      html`<strong>${uses[use]}</strong>${isThis ? html` ${badge('this one', 'quiet')}` : ''}${agent === undefined ? '' : html`<br><span title="${agent}">${agentWords(agent)}</span>`}`,
    kind: 'text',
  },
  { name: 'From', cell: ({ address, way }) => html`${address}<br>${ways[way]}` },
  { name: 'Begun', cell: ({ at }) => time(at) },
  { name: 'Last used', cell: ({ lastUsedAt }) => time(lastUsedAt) },
  { name: 'Ends', cell: ({ until }) => time(until) },
  {
    name: 'Do',
    cell: ({ id, isThis }) =>
      isThis
        ? null
        : owner === undefined
          ? actionLink(visit, sessionActions, 'end-own-session', [id])
          : actionLink(visit, sessionActions, 'end-session', [owner, id]),
  },
];

export const sessionActions: Actions = {
  'end-own-session': {
    label: 'End…',
    title: () => 'End one of your sessions',
    about: 'That browser or command is signed out immediately, and no copy of its cookie counts any more.',
    roles,
    tone: 'danger',
    back: () => me,
    request: ([id]) => ({ method: 'DELETE', path: `/v1/operators/me/sessions/${id}` }),
    done: 'The session has ended.',
  },
  'end-session': {
    label: 'End…',
    title: ([name]) => `End a session of ${name}`,
    about:
      'That browser or command is signed out immediately, and no copy of its cookie counts any more. The token stays: change it where it may be in other hands.',
    roles: ['administrator'],
    tone: 'danger',
    back: ([name]) => `/console/people/${name}`,
    request: ([name, id]) => ({ method: 'DELETE', path: `/v1/operators/${name}/sessions/${id}` }),
    done: 'The session has ended.',
  },
};
