import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import { jobStatuses } from '../../../domain/jobEvents.ts';
import { readers } from '../../../domain/roles.ts';
import { formatConfigWord } from '../../../production/configWords.ts';
import type { JobAnswer, JobRowAnswer, JobStatusAnswer, UnitAnswer } from '../../jobViews.ts';
import { actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, bar, type Cell, type Column, card, deviceLink, facts, filters, heading, id, link, pager, table, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { perMinute } from './chart.ts';
import { jobActions } from './jobActions.ts';

/** Production: jobs, what each programmer builds of them, yield with reasons, and the report that closes them. */

const filterNames = ['status'] as const;

export async function jobsPage(visit: Visit): Promise<Page> {
  const { jobs, next } = await visit.get<{ readonly jobs: readonly JobRowAnswer[]; readonly next?: string }>(
    `/v1/jobs${queryOf({ status: visit.query('status'), cursor: visit.query('cursor') })}`,
  );
  const content = html`${heading('Production', 'Jobs say how many units are built, of which line, with which firmware', [actionLink(visit, jobActions, 'create-job')])}
${filters(visit, [{ name: 'status', label: 'State', options: jobStatuses }])}
${table('Jobs', jobColumns, jobs, 'No job fits. A planner creates one, another person releases it.')}
${pager(visit, next, filterNames)}`;
  return { title: 'Production', content, isLive: true };
}

export const jobColumns: readonly Column<JobRowAnswer>[] = [
  { name: 'Job', cell: ({ jobId }) => html`<a id="job-${jobId}" href="/console/jobs/${jobId}"><code>${jobId.slice(0, 12)}…</code></a>` },
  { name: 'Line', cell: ({ line }) => line },
  {
    name: 'State',
    cell: ({ status, verdict }) =>
      html`${badge(status, verdict === 'discrepant' ? 'quiet' : undefined)}${verdict === undefined ? '' : html` ${badge(verdict)}`}`,
  },
  { name: 'Firmware', cell: ({ appVersion }) => appVersion },
  { name: 'Site', cell: ({ site }) => site },
  { name: 'Built', cell: ({ committed, plannedCount }) => `${committed} / ${plannedCount}`, kind: 'number' },
  {
    name: 'Yield',
    cell: ({ committed, voided }) => (committed + voided === 0 ? null : percent(committed, committed + voided)),
    kind: 'number',
  },
  {
    name: 'Created',
    cell: ({ createdAt, createdBy }) =>
      html`${time(createdAt)}${createdBy === undefined ? '' : html`<br><span class="none">${createdBy}</span>`}`,
  },
];

const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(1)} %`;

export async function jobPage(visit: Visit, { id: jobId = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const [job, progress, { units }] = await Promise.all([
    visit.get<JobAnswer>(`/v1/jobs/${jobId}`),
    visit.get<JobStatusAnswer>(`/v1/jobs/${jobId}/status`),
    visit.get<{ readonly units: readonly UnitAnswer[] }>(`/v1/jobs/${jobId}/units?limit=${shownUnits}`),
  ]);
  const content = html`${heading(html`Job ${id(jobId)}`, html`${badge(job.status, job.verdict === 'discrepant' ? 'quiet' : undefined)} ${job.line}`, actionsFor(visit, job))}
${facts(factsOf(job))}
${card('Live board', board(job, progress))}
${card('Shares of the programmers', table('Shares', shareColumns(visit, job), job.board, 'No programmer has a share yet.'), building.has(job.status) ? [actionLink(visit, jobActions, 'allot', [jobId])] : [])}
${card('Units', html`${table('Units', unitColumns(visit), units, 'No unit is begun yet.')}${units.length < shownUnits ? '' : html`<p class="none">The first ${shownUnits}; all of them are in the file.</p>`}`, [html`<a class="button" href="/console/jobs/${jobId}/units" download>Units as CSV</a>`])}
${reconciled(job)}`;
  return { title: `Job ${jobId}`, content, isLive: true };
}

/** States in which shares are given and packages made. */
const building: ReadonlySet<string> = new Set(['RELEASED', 'RUNNING', 'SUSPENDED']);

function actionsFor(visit: Visit, { jobId, status }: JobAnswer): readonly Html[] {
  const names: Readonly<Record<string, readonly string[]>> = {
    DRAFT: ['bind-firmware', 'attach-uids', 'cancel-job'],
    DEFINED: ['release-job', 'bind-firmware', 'attach-uids', 'cancel-job'],
    RELEASED: ['suspend-job', 'close-job'],
    RUNNING: ['suspend-job', 'close-job'],
    SUSPENDED: ['resume-job', 'close-job'],
  };
  return (names[status] ?? []).map(name => actionLink(visit, jobActions, name, [jobId]));
}

function factsOf(job: JobAnswer): readonly (readonly [string, Cell])[] {
  const firmware = (one: JobAnswer['app']): Cell =>
    one === undefined
      ? null
      : one.releaseId === undefined
        ? one.version
        : html`${link(`/console/releases/${one.releaseId}`, one.version)} security counter ${one.securityCounter}`;
  return [
    [
      'Planned',
      `${counted(job.plannedCount, 'unit')}, ${job.scrapAllowance === 0 ? 'none' : `up to ${job.scrapAllowance}`} more for scrap`,
    ],
    ['Site', job.site ?? 'any'],
    ['Bootloader', firmware(job.bl2)],
    ['Application', firmware(job.app)],
    [
      'Chips',
      job.uidCount === undefined
        ? job.requireUidList
          ? 'a list is required, none is attached'
          : 'any'
        : `${counted(job.uidCount, 'chip')} on the list`,
    ],
    [
      'Unit data',
      job.unitData === undefined
        ? null
        : job.unitData
            .map(({ name, series, destination }) => (series === undefined ? name : `${name} from ${series} (${destination})`))
            .join(', '),
    ],
    ['Configuration', job.configWords?.map(formatConfigWord).join(' ')],
    // A line operator is told no names of people.
    ...(job.contributors === undefined
      ? []
      : ([
          ['Worked on by', job.contributors.join(', ')],
          ['Released by', job.releasedBy],
        ] as const)),
    ['Verdict', job.verdict === undefined ? null : badge(job.verdict)],
  ];
}

const endedStates: ReadonlySet<string> = new Set(['CLOSED', 'RECONCILED', 'CANCELLED']);

/** Units, yield, rate, and the reasons of what was lost. */
function board(
  { plannedCount, status }: JobAnswer,
  { committed, voided, scrapped, open, yield: share, minutes, reasons }: JobStatusAnswer,
): Html {
  return html`${bar('Units', [
    ['built', committed, 'good'],
    ['under way', open, 'busy'],
    ['given up', voided - scrapped, 'quiet'],
    ['scrapped', scrapped, 'bad'],
    [endedStates.has(status) ? 'not built' : 'to come', Math.max(0, plannedCount - committed - open), 'quiet'],
  ])}
${facts([
  ['Yield', share === null ? null : `${percent(committed, committed + voided)} of ${counted(committed + voided, 'unit')} that ended`],
  ['Rate', rateOf(minutes)],
])}
${perMinute(minutes)}
${reasons.length === 0 ? '' : table('Reasons of lost units', reasonColumns, reasons, '')}`;
}

const rateOf = (minutes: JobStatusAnswer['minutes']): string | null => {
  const built = minutes.reduce((all, { committed }) => all + committed, 0);
  return built === 0 ? null : `${counted(built, 'unit')} in the last hour`;
};

const reasonColumns: readonly Column<JobStatusAnswer['reasons'][number]>[] = [
  { name: 'Lost as', cell: ({ status }) => badge(status) },
  { name: 'Reason', cell: ({ reason }) => reason, kind: 'text' },
  { name: 'Units', cell: ({ units }) => units, kind: 'number' },
];

/** The first ones; all are in the file. */
const shownUnits = 50;

const unitColumns = (visit: Visit): readonly Column<UnitAnswer>[] => [
  { name: 'Chip', cell: ({ uid }) => (visit.may(...readers) ? deviceLink(uid) : html`<code>${uid}</code>`) },
  { name: 'State', cell: ({ status }) => badge(status) },
  {
    name: 'Unit data',
    cell: ({ values }) =>
      Object.entries(values)
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
    kind: 'text',
  },
  { name: 'Reason', cell: ({ reason }) => reason, kind: 'text' },
  { name: 'Ended', cell: ({ finishedAt }) => (finishedAt === null ? null : time(finishedAt)) },
];

const shareColumns = (visit: Visit, { jobId, status: jobStatus }: JobAnswer): readonly Column<JobAnswer['board'][number]>[] => [
  {
    name: 'Programmer',
    cell: ({ programmer }) => (visit.may(...readers) ? link(`/console/programmers/${programmer}`, id(programmer)) : id(programmer)),
  },
  {
    name: 'State',
    cell: ({ status, frozenReason }) => html`${badge(status)}${frozenReason === undefined ? '' : html`<br>${frozenReason}`}`,
  },
  { name: 'Share', cell: ({ quota }) => quota, kind: 'number' },
  { name: 'Built', cell: ({ committed }) => committed, kind: 'number' },
  { name: 'Given up', cell: ({ voided }) => voided, kind: 'number' },
  { name: 'Scrapped', cell: ({ scrapped }) => scrapped, kind: 'number' },
  { name: 'Left', cell: ({ remaining }) => remaining, kind: 'number' },
  { name: 'Package', cell: ({ sequence }) => (sequence === 0 ? 'not exported' : `no. ${sequence}`) },
  {
    name: 'Do',
    cell: ({ programmer, status }) =>
      html`<div class="actions">${[...(building.has(jobStatus) && status !== 'CLOSED' ? ['export-package'] : []), ...(status === 'FROZEN' ? ['thaw-share', 'propose-thaw', 'approve-thaw'] : [])].map(name => actionLink(visit, jobActions, name, [jobId, programmer]))}</div>`,
  },
];

function reconciled(job: JobAnswer): Html {
  const downloads = [
    ...(job.verdict === undefined ? [] : [html`<a class="button" href="/console/jobs/${job.jobId}/report" download>Signed report</a>`]),
  ];
  const columns: readonly Column<JobAnswer['discrepancies'][number]>[] = [
    { name: 'Finding', cell: ({ kind }) => kind },
    { name: 'Programmer', cell: ({ programmer }) => (programmer === undefined ? null : id(programmer)) },
    { name: 'UID', cell: ({ uid }) => uid },
    { name: 'What', cell: ({ detail }) => detail, kind: 'text' },
  ];
  const empty =
    job.verdict === undefined
      ? 'Closing the job compares every ledger, receipt and certificate.'
      : 'Nothing was found: every unit is accounted for.';
  return card('Reconciliation', table('Findings', columns, job.discrepancies, empty), downloads);
}

export const jobUnitsFile = (visit: Visit, { id: jobId = '' }: Readonly<Record<string, string>>): Promise<Response> =>
  visit.send({ method: 'GET', path: `/v1/jobs/${jobId}/status.csv` });
export const jobReportFile = (visit: Visit, { id: jobId = '' }: Readonly<Record<string, string>>): Promise<Response> =>
  visit.send({ method: 'GET', path: `/v1/jobs/${jobId}/reconciliation` });
