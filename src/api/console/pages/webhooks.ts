import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import { definedOf } from '../../../defined.ts';
import type { DeadLetterAnswer, WebhookAnswer } from '../../webhooks.ts';
import { type Actions, actionLink, type Field, type Form } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Column, card, facts, heading, id, link, pager, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { reason } from './deviceActions.ts';
import { stepsOf } from './steps.ts';

/** Webhooks, with how far each is and what it could not deliver. */

export async function webhooksPage(visit: Visit): Promise<Page> {
  const list = await visit.getIfAllowed<{ readonly webhooks: readonly WebhookAnswer[] }>('/v1/webhooks');
  const content = html`${heading('Webhooks', 'Other systems are told of events, signed and in order', [actionLink(visit, webhookActions, 'add-webhook')])}
${list === undefined ? html`<p class="empty">Administrators and auditors see what is sent elsewhere.</p>` : table('Webhooks', columns, list.webhooks, 'Nothing is sent elsewhere.')}`;
  return { title: 'Webhooks', content, isLive: true };
}

const columns: readonly Column<WebhookAnswer>[] = [
  { name: 'Name', cell: ({ name }) => html`<strong>${link(`/console/webhooks/${name}`, name)}</strong>` },
  { name: 'To', cell: ({ url }) => url, kind: 'text' },
  { name: 'Types', cell: ({ types }) => types?.join(', ') ?? 'all', kind: 'text' },
  { name: 'Position', cell: ({ position }) => position, kind: 'number' },
  { name: 'Behind', cell: ({ behindEvents }) => behindEvents, kind: 'number' },
  { name: 'Dead letters', cell: ({ deadLetters }) => (deadLetters === 0 ? 0 : badge(String(deadLetters), 'bad')), kind: 'number' },
];

export async function webhookPage(visit: Visit, { name = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const one = await visit.get<WebhookAnswer>(`/v1/webhooks/${name}`);
  const { deadLetters, next } = await visit.get<{ readonly deadLetters: readonly DeadLetterAnswer[]; readonly next?: number }>(
    `/v1/webhooks/${name}/dead-letters${queryOf({ cursor: visit.query('cursor') })}`,
  );
  const actions = ['test-webhook', 'rotate-webhook', 'remove-webhook'].map(action => actionLink(visit, webhookActions, action, [name]));
  const ofLetters = deadLetters.length === 0 ? [] : ['replay-webhook', 'drop-webhook'];
  const content = html`${heading(name, link('/console/webhooks', 'Webhooks'), actions)}
${facts([
  ['To', one.url],
  ['Types', one.types?.join(', ') ?? 'all'],
  ['Streams', one.streams?.join(', ') ?? 'all'],
  ['By', one.actors?.join(', ') ?? 'anybody'],
  ['Authorities', one.hasOwnCa ? 'of the receiver' : 'of the system'],
  ['Added', html`${one.addedBy}, ${time(one.addedAt)}`],
  ['Position', one.position],
  ['Behind', counted(one.behindEvents, 'event')],
  ['Former secret until', time(one.formerSecretUntil)],
])}
${card(
  'What could not be delivered',
  html`${table('Dead letters', letterColumns, deadLetters, one.behindEvents === 0 ? 'Everything was delivered.' : 'Nothing was given up. What it is behind waits in the log: Test shows whether the receiver answers.')}${pager(visit, next, [])}`,
  ofLetters.map(action => actionLink(visit, webhookActions, action, [name])),
)}`;
  return { title: name, content, isLive: true };
}

const letterColumns: readonly Column<DeadLetterAnswer>[] = [
  { name: 'Event', cell: ({ eventType, eventId }) => html`${eventType}<br>${id(eventId, 36)}`, kind: 'text' },
  { name: 'Position', cell: ({ position }) => position, kind: 'number' },
  { name: 'Given up', cell: ({ at }) => time(at) },
  { name: 'Attempts', cell: ({ attempts }) => attempts, kind: 'number' },
  { name: 'Why', cell: ({ failure, isOrdered }) => (isOrdered ? badge('is tried again', 'busy') : failure), kind: 'text' },
];

const administrators = ['administrator'] as const;
const onlyEvents: Field = {
  name: 'events',
  label: 'Only these events',
  kind: 'lines',
  isOptional: true,
  isFurther: true,
  hint: 'Their ids, on each line one.',
};
const { back, idOf, step } = stepsOf('/v1/webhooks', name => `/console/webhooks/${name}`, 64);
const eventsIn = (form: Form): object => {
  const events = form.list('events');
  return definedOf({ reason: form.text('reason'), events: events.length === 0 ? undefined : events });
};

const secretShown = ({ secret }: Record<string, unknown>, back: string): Html =>
  html`<div class="narrow"><h1>Secret</h1><p class="notice" role="status">The secret is shown this once. The receiver checks signatures with it.</p><p class="secret" id="secret">${secret as string}</p><p><a href="${back}">Back</a></p></div>`;

function outcomeShown({ isDelivered, status, failure }: Record<string, unknown>, back: string): Html {
  const text = isDelivered
    ? html`<p class="notice" role="status">The receiver took the message (${status as number}).</p>`
    : html`<div class="problem" role="alert"><strong>The message was not taken</strong><p>${failure as string}</p></div>`;
  return html`<div class="narrow"><h1>Test</h1>${text}<p><a href="${back}">Back</a></p></div>`;
}

export const webhookActions: Actions = {
  'add-webhook': {
    label: 'Add a webhook',
    title: () => 'Add a webhook',
    about: 'The events that fit are sent there from now on. Whoever runs that system then knows what happens here.',
    roles: administrators,
    tone: 'primary',
    fields: [
      { name: 'name', label: 'Name', hint: 'a–z, 0–9 and -' },
      { name: 'url', label: 'Address', hint: 'https://' },
      { name: 'types', label: 'Only these types', isOptional: true, hint: 'Such as Unit* JobClosed. Separated by spaces.' },
      { name: 'streams', label: 'Only these streams', isOptional: true, hint: 'Such as job-*' },
      { name: 'actors', label: 'Only what they did', isOptional: true, hint: 'Such as operator:alice' },
      {
        name: 'caCertificates',
        label: 'Authorities of the receiver',
        kind: 'lines',
        isOptional: true,
        hint: 'PEM; without it those of the system.',
      },
      {
        name: 'after',
        label: 'Begin after position',
        kind: 'number',
        isOptional: true,
        isFurther: true,
        hint: 'Of the log; without it what comes from now on.',
      },
    ],
    back: () => '/console/webhooks',
    request: (_, form) => {
      const lists = ['types', 'streams', 'actors'].map(name => [name, form.list(name)] as const).filter(([, list]) => list.length > 0);
      const body = {
        name: form.text('name'),
        url: form.text('url'),
        caCertificates: form.text('caCertificates'),
        after: form.number('after'),
        ...Object.fromEntries(lists),
      };
      return { method: 'POST', path: '/v1/webhooks', body };
    },
    answer: answer => secretShown(answer, `/console/webhooks/${answer.name}`),
    done: '',
  },
  'test-webhook': step('test', {
    label: 'Test',
    verb: 'Test',
    about: 'Sends one message that is no event, now.',
    roles: administrators,
    answer: (answer, ids) => outcomeShown(answer, back(ids)),
    done: '',
  }),
  'rotate-webhook': step('secret', {
    label: 'New secret',
    verb: 'Another secret for',
    about: 'For a day the present one signs too, so that the receiver can change over.',
    roles: administrators,
    answer: (answer, ids) => secretShown(answer, back(ids)),
    done: '',
  }),
  'replay-webhook': step(
    'replay',
    {
      label: 'Try again',
      verb: 'Try again what could not be told:',
      about: 'One more attempt for each of them.',
      roles: administrators,
      tone: 'primary',
      fields: [onlyEvents],
      done: 'They are tried again.',
    },
    eventsIn,
  ),
  'drop-webhook': step(
    'drop',
    {
      label: 'Give up…',
      verb: 'Give up what could not be told:',
      about: 'They stay in the log, and are not sent any more.',
      roles: administrators,
      tone: 'danger',
      fields: [reason, onlyEvents],
      done: 'They are given up.',
    },
    eventsIn,
  ),
  'remove-webhook': {
    label: 'Remove…',
    title: ([name]) => `Remove ${name}`,
    about: 'Nothing more is sent to it.',
    roles: administrators,
    tone: 'danger',
    typed: idOf,
    back: () => '/console/webhooks',
    request: ([name]) => ({ method: 'DELETE', path: `/v1/webhooks/${name}` }),
    done: 'The webhook is removed.',
  },
};
