import { html } from 'hono/html';
import { fromBase64url } from '../../../bytes.ts';
import { roles, scopeText } from '../../../domain/roles.ts';
import { NusecError } from '../../../errors.ts';
import type { CredentialAnswer } from '../../credentials.ts';
import { type Actions, actionLink, type Form } from '../actions.ts';
import type { Html } from '../layout.ts';
import { badge, type Column, card, id, table, time } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { scopeFields, scopeIn } from './scope.ts';

/** What people sign in with: named tokens with what they may, how long, and when they were used last. */

const me = '/console/people/me';

/** @param owner another person's; one's own without */
export function credentialsCard(visit: Visit, title: string, credentials: readonly CredentialAnswer[], owner?: string): Html {
  const actions = owner === undefined ? ['add-token', 'add-authenticator'].map(name => actionLink(visit, credentialActions, name)) : [];
  return card(title, table('Credentials', columns(visit, owner), credentials, 'Nothing.'), actions);
}

/** What the script has put into the form. @throws NusecError BAD_REQUEST without it */
function registrationIn(form: Form): object {
  const text = form.text('registration');
  if (text === undefined) throw new NusecError('BAD_REQUEST', 'this page needs scripts, and a browser that knows authenticators');
  return JSON.parse(new TextDecoder().decode(fromBase64url(text))) as object;
}

const ended =
  (back: string) =>
  (answer: Record<string, unknown>): Html =>
    html`<div class="narrow"><h1>${'proposal' in answer ? 'Proposed' : 'Ended'}</h1><p class="notice" role="status">${'proposal' in answer ? 'Another administrator approves it under People.' : 'It has ended.'}</p><p><a href="${back}">Back</a></p></div>`;

const columns = (visit: Visit, owner: string | undefined): readonly Column<CredentialAnswer>[] => [
  {
    name: 'Name',
    cell: ({ label, id: key }) => html`<strong>${label}</strong>${key === 'main' ? '' : html`<br>${id(key)}`}`,
    kind: 'text',
  },
  { name: 'Kind', cell: ({ kind }) => badge(kind, 'quiet') },
  { name: 'Only', cell: ({ roles: held, scope }) => [held?.join(', '), scopeText(scope)].filter(Boolean).join('; '), kind: 'text' },
  { name: 'Ends', cell: ({ expiresAt }) => time(expiresAt) },
  { name: 'Last used', cell: ({ lastUsedAt }) => time(lastUsedAt) },
  {
    name: 'Do',
    cell: ({ id: key }) =>
      key === 'main'
        ? null
        : owner === undefined
          ? actionLink(visit, credentialActions, 'end-own-token', [key])
          : actionLink(visit, credentialActions, 'end-token', [owner, key]),
  },
];

export const credentialActions: Actions = {
  'add-authenticator': {
    label: 'Add an authenticator',
    title: () => 'Add an authenticator',
    about:
      'A security key, or what your computer or telephone has. From then on your approvals are confirmed with it, here in the console.',
    roles,
    fields: async visit => {
      const answer = await visit.send({ method: 'POST', path: '/v1/operators/me/authenticators/begin' });
      return [
        { name: 'label', label: 'Name', hint: 'Which one it is, such as: blue key' },
        { name: 'registration', label: '', kind: 'hidden' },
        { name: 'webauthn-create', label: '', kind: 'hidden', value: JSON.stringify(await answer.json()) },
      ];
    },
    back: () => me,
    request: (_, form) => ({
      method: 'POST',
      path: '/v1/operators/me/authenticators',
      body: { label: form.text('label'), ...registrationIn(form) },
    }),
    done: 'The authenticator is registered.',
  },
  'add-token': {
    label: 'Add a token',
    title: () => 'Add a token for a program of yours',
    about: 'It acts in your name, as far as you let it, and ends by itself. The token is shown once.',
    roles,
    fields: async ({ person }) => [
      { name: 'label', label: 'Name', hint: 'What uses it, such as: build server' },
      { name: 'days', label: 'Days', kind: 'number', value: '90', hint: '365 at most' },
      { name: 'roles', label: 'Only as', kind: 'choices', options: person.roles, hint: 'None chosen: all of your roles.' },
      ...scopeFields,
    ],
    back: () => me,
    request: (_, form) => ({
      method: 'POST',
      path: '/v1/operators/me/tokens',
      body: {
        label: form.text('label'),
        days: form.number('days'),
        ...(form.list('roles').length > 0 && { roles: form.list('roles') }),
        ...scopeIn(form),
      },
    }),
    answer: ({ token }) =>
      html`<div class="narrow"><h1>New token</h1><p class="notice" role="status">The token is shown this once.</p><p class="secret" id="token">${token as string}</p><p><a href="${me}">Back</a></p></div>`,
    done: '',
  },
  'end-own-token': {
    label: 'End…',
    title: () => 'End one of your tokens',
    about: 'What uses it is signed out with the next request. This cannot be undone.',
    roles,
    tone: 'danger',
    back: () => me,
    request: ([key]) => ({ method: 'DELETE', path: `/v1/operators/me/credentials/${key}` }),
    answer: ended(me),
    done: '',
  },
  'end-token': {
    label: 'End…',
    title: ([name]) => `End a token of ${name}`,
    about: 'What uses it is signed out with the next request. This cannot be undone.',
    roles: ['administrator'],
    tone: 'danger',
    back: ([name]) => `/console/people/${name}`,
    request: ([name, key]) => ({ method: 'DELETE', path: `/v1/operators/${name}/credentials/${key}` }),
    answer: (answer, [name]) => ended(`/console/people/${name}`)(answer),
    done: '',
  },
};
