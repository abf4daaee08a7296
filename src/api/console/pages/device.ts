import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import type { CertificateAnswer } from '../../certificates.ts';
import type { DeviceAnswer } from '../../deviceAnswer.ts';
import type { AttestedAnswer } from '../../deviceAttestations.ts';
import type { EventAnswer } from '../../events.ts';
import type { PresenceAnswer } from '../../presence.ts';
import { actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Cell, card, facts, heading, id, link, pager, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { certificateColumns } from './certificates.ts';
import { deviceActions } from './deviceActions.ts';
import { connections } from './presence.ts';
import { timeline } from './timeline.ts';

/** One device: what is known of it, what it proved, and its whole life as the events that prove it. */

type History = { readonly events: readonly EventAnswer[]; readonly chain: { readonly ok: boolean; readonly brokenAt?: number } };
type Release = { readonly version: string; readonly imageHash: string; readonly status: string };
type Repair = { readonly status: string; readonly programmer: string | null; readonly unlock: string; readonly returning: string };

const attestationRows = 10;

export async function devicePage(visit: Visit, { uid = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const device = await visit.get<DeviceAnswer>(`/v1/devices/${uid}`);
  const [{ events, chain }, { attestations, next }, { certificates }, presence, release, repair] = await Promise.all([
    visit.get<History>(`/v1/devices/${uid}/events`),
    visit.get<{ readonly attestations: readonly AttestedAnswer[]; readonly next?: number }>(
      `/v1/devices/${uid}/attestations${queryOf({ limit: attestationRows, before: visit.query('cursor') })}`,
    ),
    visit.get<{ readonly certificates: readonly CertificateAnswer[] }>(`/v1/certificates?subject=${uid}`),
    visit.get<PresenceAnswer>(`/v1/devices/${uid}/presence`),
    device.releaseId === null ? undefined : visit.get<Release>(`/v1/releases/${device.releaseId}`).catch(() => undefined),
    device.status === 'RMA' ? visit.get<Repair>(`/v1/devices/${uid}/repair`) : undefined,
  ]);
  const about = html`${badge(device.status)} ${device.connected ? badge('online', 'good') : badge('offline', 'quiet')} ${device.line}`;
  const content = html`${heading(html`Device <span class="uid">${uid}</span>`, about, actionsFor(visit, device, repair))}
${facts(factsOf(device, release, { events, chain }))}
${
  repair === undefined
    ? ''
    : card(
        'Repair',
        facts([
          ['State', badge(repair.status)],
          ['Programmer', repair.programmer],
          ['Debug unlock', repair.unlock],
          ['Return', repair.returning],
        ]),
      )
}
${card('Attestations', html`${attested(device, release, attestations, uid)}${pager(visit, next, [])}`)}
${card('Certificates', table('Certificates of the device', certificateColumns, certificates, 'No certificate yet.'), [link(`/console/certificates?subject=${uid}`, 'All')])}
${card('Connections', connections(presence))}
${card('Timeline', timeline(events), [html`<a class="button" href="/console/fleet/${uid}/evidence" download>Download evidence</a>`])}`;
  return { title: `Device ${uid}`, content, isLive: true };
}

/** The evidence file of a device, as the API gives it. */
export const deviceEvidenceFile = (visit: Visit, { uid = '' }: Readonly<Record<string, string>>): Promise<Response> =>
  visit.send({ method: 'GET', path: `/v1/devices/${uid}/evidence` });

/** What the device signed in one attestation. */
export const signedEvidenceFile = (visit: Visit, { uid = '', sha256 = '' }: Readonly<Record<string, string>>): Promise<Response> =>
  visit.send({ method: 'GET', path: `/v1/devices/${uid}/evidence/${sha256}` });

function actionsFor(visit: Visit, { uid, status }: DeviceAnswer, repair: Repair | undefined): readonly Html[] {
  const names: Readonly<Record<string, readonly string[]>> = {
    IN_SERVICE: ['attest-device', 'quarantine-device', 'suspend-device', 'repair-device', 'revoke-device', 'decommission-device'],
    UPGRADING: ['attest-device', 'quarantine-device', 'suspend-device', 'revoke-device', 'decommission-device'],
    QUARANTINED: ['attest-device', 'release-device', 'suspend-device', 'repair-device', 'revoke-device', 'decommission-device'],
    SUSPENDED: ['resume-device', 'repair-device', 'revoke-device', 'decommission-device'],
    STOCK: ['suspend-device', 'revoke-device', 'decommission-device'],
    PROVISIONED: ['suspend-device', 'revoke-device', 'decommission-device'],
    REVOKED: ['decommission-device'],
    RMA: [
      ...(repair?.unlock === 'none' ? ['request-unlock'] : []),
      ...(repair?.unlock === 'requested' ? ['approve-unlock'] : []),
      ...(repair?.returning === 'none' ? ['return-device'] : []),
      'revoke-device',
      'decommission-device',
    ],
  };
  return ['tag-device', 'enrol-attestation-key', ...(names[status] ?? [])].map(name => actionLink(visit, deviceActions, name, [uid]));
}

function factsOf(device: DeviceAnswer, release: Release | undefined, { events, chain }: History): readonly (readonly [string, Cell])[] {
  const firmware = device.version === null ? null : `${device.version}, security counter ${device.securityCounter}`;
  return [
    [
      'Firmware',
      release === undefined ? firmware : html`${link(`/console/releases/${device.releaseId}`, firmware)} ${badge(release.status)}`,
    ],
    ['Attested', device.attestation === null ? null : html`${badge(device.attestation)} ${time(device.attestedAt)}`],
    ['Production job', link(`/console/jobs/${device.jobId}`, id(device.jobId))],
    ['Programmer', link(`/console/programmers/${device.programmer}`, id(device.programmer, 32))],
    ['Registration id', html`${id(device.objId, 32)} generation ${device.generation}`],
    ['Gateway', gatewaysOf(device)],
    ['Trust bundle', device.trustBundleVersion === null ? null : `version ${device.trustBundleVersion}`],
    ['Tags', device.tags.join(', ')],
    ['Last change', time(device.changedAt)],
    [
      'History',
      chain.ok
        ? html`${badge('verified')} ${counted(events.length, 'event')}, hash chain unbroken`
        : html`${badge('damaged')} the chain breaks at revision ${chain.brokenAt}`,
    ],
  ];
}

/** Those it is behind; each leads to all devices behind it. */
const gatewaysOf = ({ gateways }: DeviceAnswer): Cell =>
  gateways.length === 0 ? null : html`${gateways.map(name => html`${link(`/console/fleet?gateway=${name}`, name)} `)}`;

/** What it measured last, held against what its release says; and every attestation. */
function attested(device: DeviceAnswer, release: Release | undefined, rows: readonly AttestedAnswer[], uid: string): Html {
  const isSame = release !== undefined && release.imageHash === device.imageHash;
  const comparison =
    device.imageHash === null || release === undefined
      ? ''
      : facts([
          ['Application measured', id(device.imageHash, 32)],
          [
            'Reference of the release',
            html`${id(release.imageHash, 32)} ${isSame ? badge('equal', 'good') : badge('encrypted variant or other image', 'busy')}`,
          ],
        ]);
  const columns = [
    { name: 'Time', cell: (row: AttestedAnswer) => time(row.at) },
    { name: 'Result', cell: (row: AttestedAnswer) => badge(row.result) },
    { name: 'By way of', cell: (row: AttestedAnswer) => wayOf(row.via) },
    { name: 'Reason', cell: (row: AttestedAnswer) => row.reason, kind: 'text' as const },
    {
      name: 'Evidence',
      cell: ({ evidenceSha256 }: AttestedAnswer) =>
        evidenceSha256 === undefined ? null : link(`/console/fleet/${uid}/evidence/${evidenceSha256}`, id(evidenceSha256)),
    },
  ];
  return html`${comparison}${table('Attestations, newest first', columns, rows, 'Not attested yet.')}`;
}

/** `gateway:hall-7` → `gateway hall-7` */
const wayOf = (via: string): string => (via === 'mqtt' ? 'own connection' : via.replace(':', ' '));
