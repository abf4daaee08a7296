import { html } from 'hono/html';
import type { BulkRevocationAnswer } from '../../bulkRevocations.ts';
import type { CertificateAnswer } from '../../certificates.ts';
import type { LineAnswer } from '../../lines.ts';
import { type Actions, actionLink, type Field, type Form } from '../actions.ts';
import type { Page } from '../layout.ts';
import { badge, bar, type Column, card, facts, heading, id, link, table, time } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { contentAt, contentOf } from './approval.ts';
import { certificateColumns } from './certificates.ts';
import { revocationReason } from './deviceActions.ts';

/** Revocation of many devices together, under four eyes, with progress; and what is revoked. */

const shownCertificates = 20;

export async function revocationsPage(visit: Visit): Promise<Page> {
  const [{ bulkRevocations }, { certificates }] = await Promise.all([
    visit.get<{ readonly bulkRevocations: readonly BulkRevocationAnswer[] }>('/v1/bulk-revocations'),
    visit.get<{ readonly certificates: readonly CertificateAnswer[] }>(`/v1/certificates?status=revoked&limit=${shownCertificates}`),
  ]);
  const actions = [
    actionLink(visit, revocationActions, 'propose-revocation'),
    actionLink(visit, revocationActions, 'propose-revocation-of-line'),
  ];
  const content = html`${heading('Revocations', 'Many devices at once: one officer proposes, another approves', actions)}
${card('Bulk revocations', table('Bulk revocations', columns(visit), bulkRevocations, 'None was proposed. Choose devices in the fleet, or a whole line here.'))}
${card(
  'Revoked certificates',
  table('Revoked certificates', [subject, ...certificateColumns], certificates, 'No certificate is revoked.'),
  [link('/console/certificates?status=revoked', 'All')],
)}`;
  return { title: 'Revocations', content, isLive: true };
}

const subject: Column<CertificateAnswer> = { name: 'Subject', cell: one => html`${badge(one.kind, 'quiet')} ${id(one.subject, 32)}` };

const columns = (visit: Visit): readonly Column<BulkRevocationAnswer>[] => [
  { name: 'State', cell: ({ status }) => badge(status) },
  { name: 'Why', cell: ({ note, reason }) => html`${note}<br><span class="none">${reason}</span>` },
  {
    name: 'Progress',
    cell: ({ count, done, revoked, failed }) =>
      bar(`${done} of ${count} devices`, [
        ['revoked', revoked, 'good'],
        ['failed', failed, 'bad'],
        ['to come', Math.max(0, count - done), 'quiet'],
      ]),
  },
  { name: 'Proposed', cell: ({ proposedBy, proposedAt }) => html`${proposedBy}<br>${time(proposedAt)}` },
  { name: 'Approved', cell: ({ approvedBy }) => approvedBy },
  {
    name: 'Do',
    cell: ({ id: bulkId, status }) => {
      const names = { PROPOSED: ['approve-revocation', 'cancel-revocation'], RUNNING: ['cancel-revocation'], DONE: [], CANCELLED: [] }[
        status
      ];
      const list = html`<a class="button" href="/console/revocations/${bulkId}" download>Devices</a>`;
      return html`<div class="actions">${list}${names.map(name => actionLink(visit, revocationActions, name, [bulkId]))}</div>`;
    },
  },
];

/** Which devices, one UID per line: what the approver looks at. */
export const bulkDevicesFile = (visit: Visit, { id: bulkId = '' }: Readonly<Record<string, string>>): Promise<Response> =>
  visit.send({ method: 'GET', path: `/v1/bulk-revocations/${bulkId}/devices` });

const officers = ['securityOfficer'] as const;
const back = () => '/console/revocations';
const why: readonly Field[] = [revocationReason, { name: 'note', label: 'What happened' }];
const propose = (selection: object, form: Form) =>
  ({ method: 'POST', path: '/v1/bulk-revocations', body: { selection, reason: form.text('reason'), note: form.text('note') } }) as const;
const proposed = 'The revocation is proposed. Another officer approves it.';

export const revocationActions: Actions = {
  'propose-revocation': {
    label: 'Revoke devices…',
    title: () => 'Propose to revoke devices',
    about: 'Nothing is revoked until another officer approves it.',
    roles: officers,
    tone: 'danger',
    fields: [{ name: 'uids', label: 'UIDs', kind: 'lines', hint: 'One on each line, at most 5000.' }, ...why],
    back,
    request: (_, form) => propose({ uids: form.list('uids') }, form),
    done: proposed,
  },
  'propose-revocation-of-line': {
    label: 'Revoke a line or a job…',
    title: () => 'Propose to revoke a line or a job',
    about: 'Every device of the line, or of the production job. Nothing is revoked until another officer approves it.',
    roles: officers,
    tone: 'danger',
    fields: async visit => {
      const { lines } = await visit.get<{ readonly lines: readonly LineAnswer[] }>('/v1/lines');
      return [
        { name: 'line', label: 'Line', kind: 'select', isOptional: true, options: lines.map(({ line }) => [line, line] as const) },
        { name: 'jobId', label: 'Or production job', isOptional: true, hint: '32 hex digits' },
        ...why,
      ];
    },
    back,
    request(_, form) {
      const jobId = form.text('jobId');
      return propose(jobId === undefined ? { line: form.text('line') } : { jobId }, form);
    },
    done: proposed,
  },
  'approve-revocation': {
    label: 'Approve…',
    title: () => 'Approve a bulk revocation',
    about: 'Every device on the list is revoked, and connections end at once. This cannot be undone.',
    roles: officers,
    tone: 'danger',
    look: async (visit, [bulkId]) => {
      const known = await visit.get<BulkRevocationAnswer>(`/v1/bulk-revocations/${bulkId}`);
      return facts([
        ['Devices', html`${known.count}: <a href="/console/revocations/${bulkId}" download>list of UIDs</a>`],
        ['Why', `${known.note} (${known.reason})`],
        ['Proposed by', known.proposedBy],
        ['Content', id(known.contentSha256, 32)],
      ]);
    },
    fields: contentAt(bulkId => `/v1/bulk-revocations/${bulkId}`),
    typed: () => 'revoke',
    back,
    request: ([bulkId], form) => ({
      method: 'POST',
      path: `/v1/bulk-revocations/${bulkId}/approve`,
      body: contentOf(form),
    }),
    done: 'The devices are being revoked.',
  },
  'cancel-revocation': {
    label: 'Cancel',
    title: () => 'Cancel a bulk revocation',
    about: 'Nothing more is revoked; what is revoked already stays so.',
    roles: officers,
    back,
    request: ([bulkId]) => ({ method: 'POST', path: `/v1/bulk-revocations/${bulkId}/cancel` }),
    done: 'The bulk revocation is cancelled.',
  },
};
