import { html } from 'hono/html';
import type { CertificateAnswer } from '../../certificates.ts';
import type { ProgrammerAnswer } from '../../programmers.ts';
import { type Actions, actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Column, card, facts, heading, id, pager, table } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { certificateColumns } from './certificates.ts';
import { reason } from './deviceActions.ts';
import { stepsOf } from './steps.ts';

/** Programmers: the boxes that build units at the sites of manufacturers. */

export async function programmersPage(visit: Visit): Promise<Page> {
  const { programmers, next } = await visit.get<{ readonly programmers: readonly ProgrammerAnswer[]; readonly next?: string }>(
    `/v1/programmers${queryOf({ cursor: visit.query('cursor') })}`,
  );
  const content = html`${heading('Programmers', 'NuLink3 boxes, from registration to return', [actionLink(visit, programmerActions, 'register-programmer')])}
${table('Programmers', columns, programmers, html`No programmer yet. An officer registers a blank one, then <code>nusec programmer prepare</code> gives it its identity.`)}
${pager(visit, next, [])}`;
  return { title: 'Programmers', content, isLive: true };
}

const columns: readonly Column<ProgrammerAnswer>[] = [
  { name: 'UID', cell: ({ uid }) => html`<a class="uid" id="programmer-${uid}" href="/console/programmers/${uid}">${uid}</a>` },
  { name: 'Name', cell: ({ name }) => name },
  { name: 'State', cell: ({ status }) => badge(status) },
  { name: 'Firmware', cell: ({ firmwareVersion }) => firmwareVersion },
  { name: 'At', cell: ({ shippedTo }) => shippedTo },
];

export async function programmerPage(visit: Visit, { id: uid = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const [programmer, certificates] = await Promise.all([
    visit.get<ProgrammerAnswer>(`/v1/programmers/${uid}`),
    visit.getIfAllowed<{ readonly certificates: readonly CertificateAnswer[] }>(`/v1/certificates?kind=programmer&subject=${uid}`),
  ]);
  const content = html`${heading(html`Programmer <span class="uid">${uid}</span>`, html`${badge(programmer.status)} ${programmer.name}`, actionsFor(visit, programmer))}
${facts([
  ['Firmware', programmer.firmwareVersion],
  ['At', programmer.shippedTo],
  ['Key agreement', `epoch ${programmer.kekEpoch}`],
  ['UID', id(programmer.uid, 32)],
])}
${certificates && card('Certificates', table('Certificates', certificateColumns, certificates.certificates, 'No certificate yet.'))}`;
  return { title: `Programmer ${uid}`, content, isLive: true };
}

function actionsFor(visit: Visit, { uid, status }: ProgrammerAnswer): readonly Html[] {
  const names: Readonly<Record<string, readonly string[]>> = {
    READY: ['ship-programmer', 'retire-programmer'],
    SHIPPED: ['stolen-programmer', 'return-programmer'],
    ACTIVE: ['suspend-programmer', 'return-programmer', 'stolen-programmer', 'revoke-programmer'],
    SUSPENDED: ['resume-programmer', 'return-programmer', 'stolen-programmer', 'revoke-programmer'],
    STOLEN: ['revoke-programmer'],
    RETURNED: ['retire-programmer'],
    REVOKED: ['retire-programmer'],
  };
  return (names[status] ?? []).map(name => actionLink(visit, programmerActions, name, [uid]));
}

const officers = ['securityOfficer'] as const;
const { idOf: uidOf, step } = stepsOf('/v1/programmers', uid => `/console/programmers/${uid}`);

export const programmerActions: Actions = {
  'register-programmer': {
    label: 'Register a programmer',
    title: () => 'Register a blank programmer',
    about: 'Its UID is then known. On the PC it is connected to, nusec programmer prepare gives it its identity and firmware.',
    roles: officers,
    tone: 'primary',
    fields: [
      { name: 'uid', label: 'UID', hint: '32 lower-case hex digits' },
      { name: 'name', label: 'Name', value: 'NuLink3' },
    ],
    back: () => '/console/programmers',
    request: (_, form) => ({ method: 'POST', path: '/v1/programmers', body: { uid: form.text('uid'), name: form.text('name') } }),
    to: ({ uid }) => `/console/programmers/${uid}`,
    done: 'The programmer is registered.',
  },
  'ship-programmer': step('ship', {
    label: 'Ship',
    verb: 'Ship',
    roles: officers,
    about: 'Says which manufacturer it goes to: only its jobs give it shares.',
    tone: 'primary',
    fields: [{ name: 'to', label: 'Manufacturer' }],
    done: 'The programmer is on its way.',
  }),
  'suspend-programmer': step('suspend', {
    label: 'Suspend',
    verb: 'Suspend',
    roles: officers,
    about: 'Its certificate is on hold and its shares are frozen, until it is resumed.',
    fields: [reason],
    done: 'The programmer is suspended.',
  }),
  'resume-programmer': step('resume', {
    label: 'Resume',
    verb: 'Resume',
    roles: officers,
    about: 'It builds again.',
    tone: 'primary',
    done: 'The programmer is active again.',
  }),
  'stolen-programmer': step('stolen', {
    label: 'Report stolen…',
    verb: 'Report stolen:',
    roles: officers,
    about: 'Ends its certificate, its shares and its grants at once. This cannot be undone.',
    tone: 'danger',
    fields: [{ name: 'note', label: 'What happened', isOptional: true }],
    typed: uidOf,
    done: 'The programmer is reported stolen.',
  }),
  'revoke-programmer': step('revoke', {
    label: 'Revoke…',
    verb: 'Revoke',
    roles: officers,
    about: 'Revokes its certificate for ever. This cannot be undone.',
    tone: 'danger',
    fields: [reason],
    typed: uidOf,
    done: 'The programmer is revoked.',
  }),
  'return-programmer': step('return', {
    label: 'Back at the OEM',
    verb: 'Take back',
    roles: officers,
    about: 'It builds nothing any more until it is shipped again.',
    done: 'The programmer is back.',
  }),
  'retire-programmer': step('retire', {
    label: 'Retire…',
    verb: 'Retire',
    roles: officers,
    about: 'Takes it out of use for ever. This cannot be undone.',
    tone: 'danger',
    typed: uidOf,
    done: 'The programmer is retired.',
  }),
};
