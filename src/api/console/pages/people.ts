import { html } from 'hono/html';
import { definedOf } from '../../../defined.ts';
import { effects } from '../../../domain/effects.ts';
import { isService, type Role, roles } from '../../../domain/roles.ts';
import type { CredentialAnswer } from '../../credentials.ts';
import type { AllowanceAnswer } from '../../effects.ts';
import type { SessionAnswer } from '../../operatorSessions.ts';
import type { OperatorAnswer, OperatorChangeAnswer } from '../../operators.ts';
import { type Actions, actionLink, type Field, type Form } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Column, card, facts, heading, id, table, time } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { contentOf, lookedAt } from './approval.ts';
import { credentialActions, credentialsCard } from './credentials.ts';
import { scopeFields, scopeIn } from './scope.ts';
import { sessionActions, sessionsCard } from './sessions.ts';

/** People: who may do what, until when their token counts, and what waits for a second administrator. */

type NamedAllowance = AllowanceAnswer & { readonly name: string };

export async function peoplePage(visit: Visit): Promise<Page> {
  const [list, changed, allowed] = await Promise.all([
    visit.getIfAllowed<{ readonly operators: readonly OperatorAnswer[] }>('/v1/operators'),
    visit.getIfAllowed<{ readonly changes: readonly OperatorChangeAnswer[] }>('/v1/operator-changes'),
    visit.getIfAllowed<{ readonly allowances: readonly NamedAllowance[] }>('/v1/allowances'),
  ]);
  const content = html`${heading('People', 'Roles, scopes and tokens. Who may approve is itself changed under four eyes.', [actionLink(visit, peopleActions, 'add-person')])}
${
  list === undefined
    ? html`<p class="empty">Administrators and auditors see who else there is. <a href="/console/people/me">Your own account</a></p>`
    : table(
        'People',
        personColumns(visit),
        list.operators.filter(({ roles: held }) => !isService(held)),
        'Nobody yet.',
      )
}
${
  list &&
  card(
    'Service accounts',
    table(
      'Service accounts',
      personColumns(visit),
      list.operators.filter(({ roles: held }) => isService(held)),
      'No program has an account. Add one with the role service and what it may begin.',
    ),
  )
}
${changed && card('Changes under four eyes', table('Changes', changeColumns(visit), changed.changes, 'Nothing was proposed.'))}
${allowed && card('Allowances that wait', table('Allowances', allowanceColumns(visit), allowed.allowances, 'Nobody asks for more than one may do alone within a day.'))}`;
  return { title: 'People', content, isLive: true };
}

/** Your own account. */
export async function mePage(visit: Visit): Promise<Page> {
  const me = await visit.get<OperatorAnswer>('/v1/operators/me');
  const { credentials } = await visit.get<{ readonly credentials: readonly CredentialAnswer[] }>('/v1/operators/me/credentials');
  const { sessions } = await visit.get<{ readonly sessions: readonly SessionAnswer[] }>('/v1/operators/me/sessions');
  const actions = ['rotate-token', 'ask-allowance'].map(name => actionLink(visit, peopleActions, name));
  const content = html`${heading(me.name, 'Your account', actions)}
${facts([
  ['Roles', html`${me.roles.map(role => html`${badge(role, 'quiet')} `)}`],
  ['Scope', scopeOf(me.scope)],
])}
${credentialsCard(visit, 'What you sign in with', credentials)}
${sessionsCard(visit, 'Where you are signed in', sessions)}
${visit.hasProvider && !credentials.some(({ kind }) => kind === 'identity') ? bindForm : ''}`;
  return { title: me.name, content };
}

/** Leads to the provider and back; from then on this person signs in there. */
const bindForm = html`<form class="card" method="post" action="/console/sign-in/provider"><input type="hidden" name="bind" value="true"><button>Sign in with your organization from now on</button></form>`;

function scopeOf(scope: OperatorAnswer['scope']): Html | string {
  if (scope === undefined) return 'everything';
  return html`${Object.entries(scope).map(([name, values = []]) => html`<div>${name}: ${values.length === 0 ? 'none' : values.join(', ')}</div>`)}`;
}

const personColumns = (visit: Visit): readonly Column<OperatorAnswer>[] => [
  { name: 'Name', cell: ({ name }) => html`<strong><a href="/console/people/${name}">${name}</a></strong>` },
  { name: 'Roles', cell: ({ roles: held }) => held.map(role => html`${badge(role, 'quiet')} `) as unknown as Html },
  { name: 'Scope', cell: ({ scope }) => scopeOf(scope) },
  { name: 'Token counts until', cell: ({ expiresAt }) => time(expiresAt) },
  {
    name: 'Do',
    cell: ({ name }) =>
      html`<div class="actions">${['set-roles', 'reset-token', 'remove-person'].map(action => actionLink(visit, peopleActions, action, [name]))}</div>`,
  },
];

const changeColumns = (visit: Visit): readonly Column<OperatorChangeAnswer>[] => [
  {
    name: 'Change',
    cell: ({ change }) =>
      html`<strong>${{ add: 'Add', setRoles: 'Set roles of', resetToken: 'New token for', endAuthenticator: 'End an authenticator of', remove: 'Remove' }[change.type]} ${change.name}</strong>${change.roles === undefined ? '' : html`<br>${change.roles.join(', ')}<br>${scopeOf(change.scope)}`}`,
  },
  { name: 'State', cell: ({ status }) => badge(status) },
  { name: 'Proposed', cell: ({ proposedBy, proposedAt }) => html`${proposedBy}<br>${time(proposedAt)}` },
  { name: 'Not before', cell: ({ notBefore }) => time(notBefore) },
  { name: 'Approved', cell: ({ approvedBy }) => approvedBy },
  {
    name: 'Do',
    cell: ({ id: changeId, status }) =>
      status === 'PROPOSED'
        ? html`<div class="actions">${['approve-change', 'withdraw-change'].map(action => actionLink(visit, peopleActions, action, [changeId]))}</div>`
        : null,
  },
];

const allowanceColumns = (visit: Visit): readonly Column<NamedAllowance>[] => [
  { name: 'Who', cell: ({ name }) => name },
  { name: 'What', cell: ({ effect, count }) => `${effect} ${count} within a day` },
  { name: 'Why', cell: ({ note }) => note },
  { name: 'Asked', cell: ({ proposedAt }) => time(proposedAt) },
  {
    name: 'Do',
    cell: one => actionLink(visit, peopleActions, 'approve-allowance', [one.name, one.id], `?contentSha256=${one.contentSha256}`),
  },
];

const administrators = ['administrator'] as const;
const back = () => '/console/people';
const rolesField: Field = { name: 'roles', label: 'Roles', kind: 'choices', options: roles.map(role => [role, role] as const) };
const ownToken: Field = {
  name: 'tokenSha256',
  label: 'SHA-256 of the person’s token',
  isOptional: true,
  hint: 'The person makes the token, and nusec operator new-token prints this. Needed for who may approve.',
};

const accountOf = (form: Form): object => ({ roles: form.list('roles') as readonly Role[], ...scopeIn(form) });

/** A token is shown once; a change that waits says so. */
function tokenOrProposal(answer: Record<string, unknown>, back: string): Html {
  const token = answer.token as string | undefined;
  const text =
    token === undefined
      ? html`<p class="notice" role="status">${'proposal' in answer ? 'Proposed. Another administrator approves it under People.' : 'Done.'}</p>`
      : html`<p class="notice" role="status">The token is shown this once. Hand it over by a way that nobody else reads.</p><p class="secret" id="token">${token}</p>`;
  return html`<div class="narrow"><h1>${token === undefined ? 'Changed' : 'New token'}</h1>${text}<p><a href="${back}">Back</a></p></div>`;
}

export const peopleActions: Actions = {
  ...credentialActions,
  ...sessionActions,
  'add-person': {
    label: 'Add a person',
    title: () => 'Add a person',
    about: 'Who approves nothing is added at once. Anybody else is only proposed: another administrator approves it.',
    roles: administrators,
    tone: 'primary',
    fields: [
      { name: 'name', label: 'Name', hint: 'a–z, 0–9, . _ -; never used again' },
      rolesField,
      ...scopeFields,
      { ...ownToken, isFurther: true },
      {
        name: 'subject',
        label: 'Who the person is for the OpenID provider',
        isOptional: true,
        isFurther: true,
        hint: 'Instead of a token: the sub that the refused sign-in has shown.',
      },
    ],
    back,
    request: (_, form) => ({
      method: 'POST',
      path: '/v1/operators',
      body: {
        name: form.text('name'),
        ...accountOf(form),
        ...definedOf({ tokenSha256: form.text('tokenSha256'), subject: form.text('subject') }),
      },
    }),
    answer: answer => tokenOrProposal(answer, back()),
    done: '',
  },
  'set-roles': {
    label: 'Roles',
    title: ([name]) => `Roles of ${name}`,
    about: 'Takes effect at once for who approves nothing; otherwise another administrator approves it.',
    roles: administrators,
    fields: async (visit, [name]) => {
      const { operators } = await visit.get<{ readonly operators: readonly OperatorAnswer[] }>('/v1/operators');
      const known = operators.find(one => one.name === name);
      const [lines, jobs, sites] = scopeFields;
      return [
        { ...rolesField, value: known?.roles.join('\n') },
        { ...lines, value: known?.scope?.lines?.join(' ') },
        { ...jobs, value: known?.scope?.jobs?.join(' ') },
        { ...sites, value: known?.scope?.sites?.join(', ') },
      ];
    },
    back,
    request: ([name], form) => ({ method: 'PUT', path: `/v1/operators/${name}/roles`, body: { scope: null, ...accountOf(form) } }),
    answer: answer => tokenOrProposal(answer, back()),
    done: '',
  },
  'reset-token': {
    label: 'New token',
    title: ([name]) => `New token for ${name}`,
    about: 'The present token and its sessions end.',
    roles: administrators,
    fields: [ownToken],
    back,
    request: ([name], form) => ({
      method: 'POST',
      path: `/v1/operators/${name}/token`,
      body: definedOf({ tokenSha256: form.text('tokenSha256') }),
    }),
    answer: answer => tokenOrProposal(answer, back()),
    done: '',
  },
  'remove-person': {
    label: 'Remove…',
    title: ([name]) => `Remove ${name}`,
    about: 'The token stops working and the name is never used again. This cannot be undone.',
    roles: administrators,
    tone: 'danger',
    typed: ([name = '']) => name,
    back,
    request: ([name]) => ({ method: 'DELETE', path: `/v1/operators/${name}` }),
    answer: answer => tokenOrProposal(answer, back()),
    done: '',
  },
  'approve-change': {
    label: 'Approve',
    title: () => 'Approve a change of people',
    about: 'It takes effect at once. The one who proposed it cannot approve it.',
    roles: administrators,
    tone: 'primary',
    look: async (visit, [changeId]) => {
      const known = await changeOf(visit, changeId);
      return facts([
        ['Change', known?.change.type],
        ['Person', known?.change.name],
        ['Roles', known?.change.roles?.join(', ')],
        ['Proposed by', known?.proposedBy],
        ['Content', id(known?.contentSha256 ?? '', 32)],
      ]);
    },
    fields: async (visit, [changeId]) => [lookedAt((await changeOf(visit, changeId))?.contentSha256), ownToken],
    back,
    request: ([changeId], form) => ({
      method: 'POST',
      path: `/v1/operator-changes/${changeId}/approve`,
      body: { ...contentOf(form), tokenSha256: form.text('tokenSha256') },
    }),
    done: 'The change is carried out.',
  },
  'withdraw-change': {
    label: 'Withdraw',
    title: () => 'Withdraw a change of people',
    about: 'The proposal is not carried out. Against a recovery this is the objection.',
    roles: administrators,
    back,
    request: ([changeId]) => ({ method: 'POST', path: `/v1/operator-changes/${changeId}/withdraw` }),
    done: 'The change is withdrawn.',
  },
  'approve-allowance': {
    label: 'Allow',
    title: ([name]) => `Allow ${name} more for a day`,
    about: 'Another officer may do so many within a day instead of the usual limit.',
    roles: ['securityOfficer'],
    tone: 'primary',
    fields: [lookedAt()],
    back,
    request: ([name, allowanceId], form) => ({
      method: 'POST',
      path: `/v1/operators/${name}/allowances/${allowanceId}/approve`,
      body: contentOf(form),
    }),
    done: 'It is allowed for a day.',
  },
  'ask-allowance': {
    label: 'Ask for an allowance',
    title: () => 'Ask for an allowance',
    about: 'More than one person may do alone within a day. Another officer approves it.',
    roles: ['securityOfficer'],
    fields: [
      { name: 'effect', label: 'What', kind: 'select', options: effects.map(one => [one, one] as const) },
      { name: 'count', label: 'How many', kind: 'number' },
      { name: 'note', label: 'Why' },
    ],
    back: () => '/console/people/me',
    request: (_, form) => ({
      method: 'POST',
      path: '/v1/operators/me/allowances',
      body: { effect: form.text('effect'), count: form.number('count'), note: form.text('note') },
    }),
    done: 'Asked for: another officer approves it.',
  },
  'rotate-token': {
    label: 'New token for yourself',
    title: () => 'New token for yourself',
    about: 'Your present token ends, and with it this session: sign in again with the new one.',
    roles: roles,
    back: () => '/console/people/me',
    request: () => ({ method: 'POST', path: '/v1/operators/me/token', body: {} }),
    answer: answer => tokenOrProposal(answer, '/console/sign-in'),
    done: '',
  },
};

async function changeOf(visit: Visit, changeId: string | undefined): Promise<OperatorChangeAnswer | undefined> {
  const { changes } = await visit.get<{ readonly changes: readonly OperatorChangeAnswer[] }>('/v1/operator-changes');
  return changes.find(one => one.id === changeId);
}
