import { html } from 'hono/html';
import type { LineAnswer } from '../../lines.ts';
import type { ReleaseAnalysisAnswer, ReleaseAnswer, ReleaseRowAnswer } from '../../releases.ts';
import { type Actions, actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, type Cell, type Column, card, facts, filters, heading, id, pager, table } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { contentAt, contentOf } from './approval.ts';
import { reason } from './deviceActions.ts';
import { lineField } from './jobActions.ts';
import { stepsOf } from './steps.ts';

/** Firmware releases: uploaded by one person, approved by another, published, some day withdrawn. */

export async function releasesPage(visit: Visit): Promise<Page> {
  const [{ releases, next }, { lines }] = await Promise.all([
    visit.get<{ readonly releases: readonly ReleaseRowAnswer[]; readonly next?: string }>(
      `/v1/releases${queryOf({ line: visit.query('line'), cursor: visit.query('cursor') })}`,
    ),
    visit.get<{ readonly lines: readonly LineAnswer[] }>('/v1/lines'),
  ]);
  const content = html`${heading('Releases', 'Firmware that was analysed, and how far it has come', [actionLink(visit, releaseActions, 'upload-release')])}
${filters(visit, [{ name: 'line', label: 'Line', options: lines.map(({ line }) => [line, line] as const) }])}
${table('Releases', releaseColumns, releases, 'No release yet. A release manager uploads one, another approves it.')}
${pager(visit, next, ['line'])}`;
  return { title: 'Releases', content, isLive: true };
}

const releaseColumns: readonly Column<ReleaseRowAnswer>[] = [
  {
    name: 'Version',
    cell: ({ releaseId, version }) => html`<a id="release-${releaseId}" href="/console/releases/${releaseId}">${version}</a>`,
  },
  { name: 'Image', cell: ({ image }) => (image === 'bl2' ? 'bootloader' : 'application') },
  { name: 'Line', cell: ({ line }) => line },
  { name: 'State', cell: ({ status }) => badge(status) },
  { name: 'Counter', cell: ({ securityCounter }) => securityCounter, kind: 'number' },
  { name: 'Image hash', cell: ({ imageHash }) => id(imageHash, 16) },
];

export async function releasePage(visit: Visit, { id: releaseId = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const release = await visit.get<ReleaseAnswer>(`/v1/releases/${releaseId}`);
  const content = html`${heading(`${release.line} ${release.image} ${release.version}`, badge(release.status), actionsFor(visit, release))}
${facts([...factsOf(release), ...moreOf(release)])}
${card('Analysis of the image', await analysisOf(visit, releaseId))}
${card('Bill of materials', materialsOf(release), [actionLink(visit, releaseActions, 'attach-sbom', [releaseId])])}`;
  return { title: `Release ${release.version}`, content, isLive: true };
}

const hex = (value: number): Html => html`<code>0x${value.toString(16).padStart(8, '0')}</code>`;

/** A body that is damaged or missing is told here, beside what is known of the release. */
const analysisOf = (visit: Visit, releaseId: string): Promise<Html> =>
  visit.get<ReleaseAnalysisAnswer>(`/v1/releases/${releaseId}/analysis`).then(
    answer => facts(analysed(answer)),
    (error: Error) => html`<p class="empty">${error.message}</p>`,
  );

/** As the bytes say that devices get. */
const analysed = ({
  headerBytes,
  payloadBytes,
  loadAddress,
  flags,
  protectedTlvs,
  dependencies,
  vectors,
}: ReleaseAnalysisAnswer): readonly (readonly [string, Cell])[] => [
  ['Header and payload', `${headerBytes.toLocaleString('en')} and ${payloadBytes.toLocaleString('en')} bytes`],
  ['Begins at', vectors && html`${hex(vectors.resetHandler)}, stack from ${hex(vectors.stackPointer)}`],
  ['Load address', loadAddress === 0 ? null : hex(loadAddress)],
  ['Flags', flags === 0 ? null : hex(flags)],
  ['Needs', dependencies.map(({ imageId, minVersion }) => `image ${imageId} from ${minVersion} on`).join(', ')],
  ['Covered by the hash', html`${protectedTlvs.map(({ type, value }) => html`${type} ${id(value, 32)}<br>`)}`],
  ['Signed', 'for each device by a key of its own, when it is built or gets the upgrade; signatures of the upload are dropped'],
];

const materialsOf = ({ releaseId, sbomFormat, sbomSha256 }: ReleaseAnswer): Html =>
  sbomSha256 === undefined
    ? html`<p class="empty">None: nobody can say which components are in it, or what a vulnerability reaches.</p>`
    : html`${facts([
        ['Format', sbomFormat],
        ['SHA-256', id(sbomSha256, 64)],
      ])}<p><a class="button" href="/console/releases/${releaseId}/sbom" download>Download</a></p>`;

/** As it was attached. */
export async function releaseSbomFile(visit: Visit, { id: releaseId = '' }: Readonly<Record<string, string>>): Promise<Response> {
  const answer = await visit.send({ method: 'GET', path: `/v1/releases/${releaseId}/sbom` });
  const headers = { 'Content-Type': 'application/json', 'Content-Disposition': `attachment; filename="${releaseId}.sbom.json"` };
  return new Response(answer.body, { headers });
}

function actionsFor(visit: Visit, { releaseId, status, image }: ReleaseAnswer): readonly Html[] {
  const names: Readonly<Record<string, readonly string[]>> = {
    UPLOADED: ['approve-release', 'withdraw-release'],
    APPROVED: ['publish-release', 'withdraw-release'],
    PUBLISHED: [...(image === 'app' ? ['plan-rollout'] : []), 'withdraw-release'],
  };
  return (names[status] ?? []).map(name =>
    name === 'plan-rollout'
      ? visit.may('releaseManager')
        ? html`<a class="button primary" href="/console/do/plan-rollout?releaseId=${releaseId}">Plan a rollout</a>`
        : html``
      : actionLink(visit, releaseActions, name, [releaseId]),
  );
}

const factsOf = (release: ReleaseAnswer): readonly (readonly [string, Cell])[] => [
  ['Line', release.line],
  ['Image', release.image === 'bl2' ? 'bootloader' : 'application'],
  ['Version', release.version],
  ['Security counter', release.securityCounter],
  ['Size', `${release.size.toLocaleString('en')} bytes`],
  ['Image hash', id(release.imageHash, 64)],
  ['Body', id(release.bodySha256, 64)],
  ['Uploaded by', release.uploadedBy],
  ['Worked on by', release.contributors.join(', ')],
  ['Approved by', release.approvedBy],
  ['Counter jump', release.counterJump === true ? 'permitted' : null],
  ['Encrypted', release.encrypted && encryptedWords(release.encrypted)],
  ['Content to approve', id(release.contentSha256, 64)],
];

const encryptedWords = ({ bits, size, uidBound, imageHash }: NonNullable<ReleaseAnswer['encrypted']>): Html =>
  html`AES-${bits}, ${size.toLocaleString('en')} bytes${uidBound ? ', bound to the UID' : ''}; image hash ${id(imageHash, 16)}`;

const known = new Set(
  'releaseId line image version securityCounter imageHash bodySha256 size status uploadedBy contributors contentSha256 approvedBy counterJump upload sbomSha256 sbomFormat encrypted'.split(
    ' ',
  ),
);
/** What the analysis of the upload has found besides, as the API names it. */
const moreOf = (release: ReleaseAnswer): readonly (readonly [string, Cell])[] =>
  Object.entries(release).flatMap(([name, value]) =>
    known.has(name) || value === undefined
      ? []
      : [[name, typeof value === 'object' ? html`<code>${JSON.stringify(value)}</code>` : String(value)] as const],
  );

const managers = ['releaseManager'] as const;
const { back, idOf, step } = stepsOf('/v1/releases', releaseId => `/console/releases/${releaseId}`, 12);
const look = async (visit: Visit, [releaseId = '']: readonly string[]): Promise<Html> =>
  html`${facts(factsOf(await visit.get<ReleaseAnswer>(`/v1/releases/${releaseId}`)))}${await analysisOf(visit, releaseId)}`;

export const releaseActions: Actions = {
  'upload-release': {
    label: 'Upload firmware',
    title: () => 'Upload firmware',
    about: 'A raw binary, or an image of MCUboot whose signature is dropped. It is analysed; another release manager approves it.',
    roles: managers,
    tone: 'primary',
    fields: async visit => [
      await lineField(visit),
      {
        name: 'image',
        label: 'Image',
        kind: 'select',
        options: [
          ['app', 'application'],
          ['bl2', 'bootloader'],
        ],
      },
      { name: 'version', label: 'Version', isOptional: true, hint: 'of a raw binary, such as 1.2.0; an image brings its own' },
      { name: 'counter', label: 'Security counter', kind: 'number', isOptional: true },
      { name: 'counterJump', label: 'The counter may jump', kind: 'check' },
      { name: 'file', label: 'File', kind: 'file' },
    ],
    back: () => '/console/releases',
    request(_, form) {
      const query = queryOf({
        line: form.text('line'),
        image: form.text('image'),
        version: form.text('version'),
        counter: form.text('counter'),
        counterJump: form.text('counterJump'),
      });
      return { method: 'POST', path: `/v1/releases${query}`, body: form.file('file') };
    },
    to: ({ releaseId }) => `/console/releases/${releaseId}`,
    done: 'The firmware is uploaded. Another release manager approves it.',
  },
  'approve-release': step(
    'approve',
    {
      label: 'Approve',
      verb: 'Approve release',
      about: 'Nobody who had a part in it approves it.',
      roles: managers,
      tone: 'primary',
      look,
      fields: contentAt(releaseId => `/v1/releases/${releaseId}`),
      done: 'The release is approved.',
    },
    contentOf,
  ),
  'attach-sbom': {
    label: 'Attach a bill of materials',
    title: ids => `Attach a bill of materials to release ${idOf(ids)}`,
    about: 'CycloneDX or SPDX 2.3, JSON. It is read for its components, and kept as it is; another one takes its place.',
    roles: managers,
    fields: [{ name: 'file', label: 'File', kind: 'file' }],
    back,
    request: ([releaseId], form) => ({
      method: 'PUT',
      path: `/v1/releases/${releaseId}/sbom`,
      body: form.file('file'),
      headers: { 'Content-Type': 'application/json' },
    }),
    done: 'The bill of materials is attached.',
  },
  'publish-release': step('publish', {
    label: 'Publish',
    verb: 'Publish release',
    about: 'Jobs may bind it and rollouts may offer it.',
    roles: managers,
    tone: 'primary',
    look,
    done: 'The release is published.',
  }),
  'withdraw-release': step('withdraw', {
    label: 'Withdraw…',
    verb: 'Withdraw release',
    about: 'Nobody builds or gets it any more. This cannot be undone.',
    roles: managers,
    tone: 'danger',
    look,
    fields: [reason],
    typed: idOf,
    done: 'The release is withdrawn.',
  }),
};
