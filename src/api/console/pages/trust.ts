import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import type { IssuingCaStatus } from '../../../domain/authorityEvents.ts';
import type { AuthorityAnswer } from '../../authority.ts';
import type { CeremonyAnswer } from '../../ceremonies.ts';
import { actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Column, card, facts, heading, id, isWithoutEnd, link, table, time } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { words } from './timeline.ts';
import { trustActions } from './trustActions.ts';

/** The authorities as a tree, the keys that sign, how far the trust bundle has reached, and the ceremonies that change them. */

type Ica = AuthorityAnswer['issuingCas'][number];
type Root = AuthorityAnswer['roots'][number];

export async function trustPage(visit: Visit): Promise<Page> {
  const [authority, { ceremonies }] = await Promise.all([
    visit.get<AuthorityAnswer>('/v1/authority'),
    visit.get<{ readonly ceremonies: readonly CeremonyAnswer[] }>('/v1/authority/ceremonies'),
  ]);
  const behind = authority.trustBundle.devicesBehind;
  const content = html`${heading(
    'Authorities',
    `Project ${authority.project}`,
    ['propose-ica', 'propose-key', 'propose-root'].map(name => actionLink(visit, trustActions, name)),
  )}
${card('Certificate authorities', tree(visit, authority))}
${card('Keys that sign', table('Signing keys', keyColumns(visit), authority.packageKeys, 'No signing key yet.'))}
${card(
  'Trust bundle',
  facts([
    ['Version', authority.trustBundle.version],
    [
      'Adopted',
      behind === 0
        ? html`${badge('by all', 'good')}`
        : link('/console/fleet?behind=true', `${counted(behind, 'device')} in use without it`),
    ],
    ['SHA-256', id(authority.trustBundle.sha256, 32)],
  ]),
)}
${card('Ceremonies', table('Ceremonies', ceremonyColumns(visit), ceremonies, 'No ceremony since the project was initialised.'), [
  html`<a class="button" href="/console/trust/record/root">Record of the first root</a>`,
])}`;
  return { title: 'Authorities', content, isLive: true };
}

const tree = (visit: Visit, { roots, issuingCas }: AuthorityAnswer): Html =>
  html`<ul class="tree">${roots.map(
    root =>
      html`<li>${rootLine(visit, root)}<ul>${issuingCas.filter(({ rootId }) => rootId === root.rootId).map(ica => html`<li>${icaLine(visit, ica)}</li>`)}</ul></li>`,
  )}</ul>`;

const ending = (notAfter: string) => (isWithoutEnd(notAfter) ? 'without end' : html`until ${time(notAfter)}`);

const rootLine = (visit: Visit, { subject, curve, notAfter, retired, rootId }: Root): Html =>
  html`<div class="head"><div><strong>${subject}</strong> ${badge(retired ? 'retired' : 'active')} <span class="none">root, ${curve}, ${ending(notAfter)}</span></div><div class="actions">${
    retired ? '' : actionLink(visit, trustActions, 'propose-retire-root', [rootId])
  }</div></div>`;

function icaLine(visit: Visit, { icaId, use, line, generation, curve, status, notAfter, crl }: Ica): Html {
  const names: Readonly<Record<IssuingCaStatus, readonly string[]>> = {
    ESTABLISHED: ['propose-activate-ica', 'propose-retire-ica'],
    ACTIVE: ['propose-retire-ica', 'propose-compromise-ica'],
    RETIRED: ['propose-compromise-ica'],
    COMPROMISED: [],
  };
  return html`<div class="head"><div><code>${icaId}</code> ${badge(status)} <span class="none">for ${use}${line === null ? '' : ` of ${line}`}, generation ${generation}, ${curve}, ${ending(notAfter)}${
    crl === null ? '' : html`; CRL no. ${crl.number}, next by ${time(crl.nextUpdate)}`
  }</span></div><div class="actions">${names[status].map(name => actionLink(visit, trustActions, name, [icaId]))}</div></div>`;
}

const keyColumns = (visit: Visit): readonly Column<AuthorityAnswer['packageKeys'][number]>[] => [
  { name: 'Key', cell: ({ keyId }) => html`<code>${keyId}</code>` },
  { name: 'Signs', cell: ({ uses }) => uses.join(', ') },
  { name: 'State', cell: ({ compromised }) => badge(compromised ? 'compromised' : 'active') },
  { name: 'Public key', cell: ({ publicKeySha256 }) => id(publicKeySha256, 16) },
  {
    name: 'Do',
    cell: ({ keyId, compromised }) =>
      compromised || !visit.may('administrator')
        ? null
        : html`<a class="button danger" href="/console/do/propose-compromise-key?keyId=${keyId}">Compromised…</a>`,
  },
];

const ceremonyColumns = (visit: Visit): readonly Column<CeremonyAnswer>[] => [
  {
    name: 'Ceremony',
    cell: ({ action }) =>
      html`<strong>${words(action.type?.replace(/^./, letter => letter.toUpperCase()) ?? '')}</strong>${detailsOf(action)}`,
  },
  { name: 'State', cell: ({ status }) => badge(status) },
  { name: 'Proposed', cell: ({ proposedBy, proposedAt }) => html`${proposedBy}<br>${time(proposedAt)}` },
  {
    name: 'Approved',
    cell: ({ approvedBy, approvedAt }) => (approvedBy === undefined ? null : html`${approvedBy}<br>${time(approvedAt)}`),
  },
  {
    name: 'Do',
    cell: ({ id: ceremonyId, status }) =>
      status === 'PROPOSED' || status === 'APPROVED'
        ? html`<div class="actions">${['approve-ceremony', 'withdraw-ceremony'].map(name => actionLink(visit, trustActions, name, [ceremonyId]))}</div>`
        : status === 'DONE'
          ? link(`/console/trust/record/${ceremonyId}`, 'Record')
          : null,
  },
];

const detailsOf = (action: Readonly<Record<string, string>>): Html =>
  html`${Object.entries(action)
    .filter(([name]) => name !== 'type')
    .map(([name, value]) => html`<br><span class="none">${name}</span> <code>${value}</code>`)}`;

/** The record of a ceremony, to be printed and signed. */
export async function ceremonyRecordPage(visit: Visit, { id: ceremonyId = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const record = await (await visit.send({ method: 'GET', path: `/v1/authority/ceremonies/${ceremonyId}/record` })).text();
  const content = html`${heading('Record of a ceremony', 'To be printed and signed', [html`<a class="button" href="/console/trust">Back to the authorities</a>`])}<pre class="card record" tabindex="0">${record}</pre>`;
  return { title: 'Record of a ceremony', content };
}
