import { html } from 'hono/html';
import type { SubjectAnswer } from '../../subjects.ts';
import { type Actions, actionLink } from '../actions.ts';
import type { Page } from '../layout.ts';
import { badge, type Column, facts, heading, id, table, time } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { contentOf, lookedAt } from './approval.ts';
import { reason } from './deviceActions.ts';
import { linesOfJson } from './download.ts';
import { rowsOfLog } from './logPages.ts';

/** The people whom the log names: what it has of one, and erasure by two administrators. */

export async function subjectsPage(visit: Visit): Promise<Page> {
  const { subjects } = await visit.get<{ readonly subjects: readonly SubjectAnswer[] }>('/v1/subjects');
  const content = html`${heading('People in the log', 'Operators, sites and addresses that the log names. Who is erased is not on the list any more.')}
${table('People in the log', columns(visit), subjects, 'The log names nobody.')}`;
  return { title: 'People in the log', content };
}

const columns = (visit: Visit): readonly Column<SubjectAnswer>[] => [
  { name: 'Name', cell: ({ name }) => html`<strong>${name}</strong>`, kind: 'text' },
  { name: 'Kind', cell: ({ kind }) => badge(kind, 'quiet') },
  { name: 'Since', cell: ({ since }) => time(since) },
  { name: 'In the log as', cell: ({ id: key }) => id(key) },
  {
    name: 'Erasure',
    cell: ({ erasure }) =>
      erasure === undefined ? null : html`${badge(erasure.status)}<br><span class="none">${erasure.proposedBy}: ${erasure.reason}</span>`,
  },
  {
    name: 'Do',
    cell: ({ id: key }) =>
      html`<div class="actions"><a class="button" href="/console/subjects/${key}/data" download>What the log has</a>${actionLink(visit, subjectActions, 'erase-subject', [key])}</div>`,
  },
];

type Data = { readonly events: readonly object[]; readonly next: number; readonly head: number };

/** Everything that somebody did and that names them, as JSON Lines. */
export const subjectDataFile = (visit: Visit, { id: key = '' }: Readonly<Record<string, string>>): Promise<Response> =>
  linesOfJson('subject.jsonl', () =>
    rowsOfLog(
      visit,
      after => `/v1/subjects/${key}/data?after=${after}`,
      (page: Data) => page.events,
    ),
  );

async function subjectOf(visit: Visit, key: string | undefined): Promise<SubjectAnswer | undefined> {
  const { subjects } = await visit.get<{ readonly subjects: readonly SubjectAnswer[] }>('/v1/subjects');
  return subjects.find(one => one.id === key);
}

export const subjectActions: Actions = {
  'erase-subject': {
    label: 'Erase…',
    title: () => 'Erase somebody from the log',
    about:
      'The first administrator proposes it. When another one does the same, nobody can read any more who they were and what they wrote. That cannot be undone.',
    roles: ['administrator'],
    tone: 'danger',
    look: async (visit, [key]) => {
      const known = await subjectOf(visit, key);
      return facts([
        ['Name', known?.name],
        ['Kind', known?.kind],
        ['Proposed', known?.erasure && `${known.erasure.proposedBy}: ${known.erasure.reason}`],
      ]);
    },
    fields: async (visit, [key]) => [reason, lookedAt((await subjectOf(visit, key))?.erasure?.contentSha256)],
    typed: () => 'erase',
    back: () => '/console/subjects',
    request: ([key], form) => ({
      method: 'POST',
      path: `/v1/subjects/${key}/erase`,
      body: { reason: form.text('reason'), ...contentOf(form) },
    }),
    answer: ({ status }) =>
      html`<div class="narrow"><h1>${status === 'PROPOSED' ? 'Proposed' : 'Erased'}</h1><p class="notice" role="status">${status === 'PROPOSED' ? 'Another administrator does the same within seven days.' : 'Nobody can read any more who they were.'}</p><p><a href="/console/subjects">Back</a></p></div>`,
    done: '',
  },
};
