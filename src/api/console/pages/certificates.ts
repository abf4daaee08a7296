import { html } from 'hono/html';
import { certificateKinds } from '../../../domain/storeEvents.ts';
import type { CertificateAnswer } from '../../certificates.ts';
import type { Page } from '../layout.ts';
import { badge, type Column, filters, heading, id, link, pager, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';

/** The inventory of certificates: of devices, programmers and gateways, of the server and of the authorities. */

const filterNames = ['kind', 'status', 'subject', 'endsBefore'] as const;

export async function certificatesPage(visit: Visit): Promise<Page> {
  const filter = Object.fromEntries(filterNames.map(name => [name, visit.query(name)]));
  const { certificates, next } = await visit.get<{ readonly certificates: readonly CertificateAnswer[]; readonly next?: string }>(
    `/v1/certificates${queryOf({ ...filter, cursor: visit.query('cursor') })}`,
  );
  const content = html`${heading('Certificates', 'Everything that was ever certified, and whether it still counts')}
${filters(visit, [
  { name: 'kind', label: 'Of a', options: certificateKinds },
  { name: 'status', label: 'State', options: ['issued', 'expired', 'revoked'] },
  { name: 'subject', label: 'Subject', placeholder: 'UID, gateway or authority' },
  { name: 'endsBefore', label: 'Ends before', placeholder: '2027-01-31' },
])}
${table('Certificates', [owner, ...certificateColumns], certificates, 'No certificate fits this filter.')}
${pager(visit, next, filterNames)}`;
  return { title: 'Certificates', content };
}

const places: Readonly<Record<string, string>> = { device: '/console/fleet/', programmer: '/console/programmers/' };
const owner: Column<CertificateAnswer> = {
  name: 'Subject',
  cell: ({ kind, subject }) =>
    html`${badge(kind, 'quiet')} ${places[kind] === undefined ? id(subject, 32) : link(`${places[kind]}${subject}`, id(subject, 32))}`,
};

export const certificateColumns: readonly Column<CertificateAnswer>[] = [
  { name: 'Serial', cell: ({ serial }) => id(serial, 16) },
  { name: 'Issued by', cell: ({ icaId }) => id(icaId, 16) },
  {
    name: 'State',
    cell: ({ status, reason }) => html`${badge(status)}${reason === null ? '' : html` <span class="none">${reason}</span>`}`,
  },
  { name: 'Issued', cell: ({ issuedAt }) => time(issuedAt) },
  { name: 'Ends', cell: ({ notAfter }) => time(notAfter) },
];
