import { html } from 'hono/html';
import { NusecError } from '../../../errors.ts';
import { parseConfigWords } from '../../../production/configWords.ts';
import type { ThawProposalAnswer } from '../../allotments.ts';
import type { JobAnswer } from '../../jobViews.ts';
import type { LineAnswer } from '../../lines.ts';
import type { ReleaseRowAnswer } from '../../releases.ts';
import type { Actions, Field, Form } from '../actions.ts';
import { facts, id } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { contentAt, contentOf, lookedAt } from './approval.ts';
import { reason } from './deviceActions.ts';
import { stepsOf } from './steps.ts';

/** What planners, and line operators, do to a production job. */

const planners = ['productionPlanner'] as const;
const drivers = ['productionPlanner', 'lineOperator'] as const;
const { back, idOf: short, step } = stepsOf('/v1/jobs', jobId => `/console/jobs/${jobId}`, 12);

export const lineField = async (visit: Visit): Promise<Field> => {
  const { lines } = await visit.get<{ readonly lines: readonly LineAnswer[] }>('/v1/lines');
  return { name: 'line', label: 'Line', kind: 'select', options: lines.map(({ line }) => [line, line] as const) };
};

async function waitingThaw(visit: Visit, [jobId, programmer]: readonly string[]): Promise<ThawProposalAnswer | undefined> {
  const path = `/v1/jobs/${jobId}/allotments/${programmer}/thaw-proposals`;
  return (await visit.get<{ readonly proposals: readonly ThawProposalAnswer[] }>(path)).proposals[0];
}

/** @throws NusecError BAD_REQUEST */
function unitDataIn(form: Form): readonly object[] | undefined {
  return form
    .text('unitData')
    ?.split('\n')
    .map(line => {
      const [name, series, destination, ...rest] = line.trim().split(/\s+/);
      if (destination === undefined || rest.length > 0) throw new NusecError('BAD_REQUEST', `${line}: name, series and destination`);
      return { name, series, destination };
    });
}

/** @throws NusecError BAD_REQUEST */
function configWordsIn(form: Form): readonly number[] | undefined {
  const text = form.text('configWords');
  const words = text === undefined ? undefined : parseConfigWords(text.replaceAll(' ', ''));
  if (text !== undefined && words === undefined)
    throw new NusecError('BAD_REQUEST', 'configuration words are four words of 8 hex digits with commas between');
  return words;
}

export const jobActions: Actions = {
  'create-job': {
    label: 'New job',
    title: () => 'New production job',
    about: 'A draft: bind its firmware, give programmers their shares, then another planner releases it.',
    roles: planners,
    tone: 'primary',
    fields: async visit => [
      await lineField(visit),
      { name: 'plannedCount', label: 'Units', kind: 'number' },
      { name: 'scrapAllowance', label: 'Allowance for scrap', kind: 'number', isOptional: true },
      { name: 'site', label: 'Site', isOptional: true, hint: 'Only programmers that were shipped there get shares.' },
      { name: 'requireUidList', label: 'Only chips of a list may be built', kind: 'check' },
      {
        name: 'unitData',
        label: 'Values for each unit',
        kind: 'lines',
        isOptional: true,
        isFurther: true,
        hint: 'On each line one: name, series and destination, such as serial meter-serial sealed. Destinations: sealed, plain, report.',
      },
      {
        name: 'configWords',
        label: 'Configuration words',
        isOptional: true,
        isFurther: true,
        hint: 'CONFIG0 to CONFIG3 of the chips: four words of 8 hex digits with commas between.',
      },
    ],
    back: () => '/console/jobs',
    request: (_, form) => ({
      method: 'POST',
      path: '/v1/jobs',
      body: {
        line: form.text('line'),
        plannedCount: form.number('plannedCount'),
        scrapAllowance: form.number('scrapAllowance'),
        site: form.text('site'),
        requireUidList: form.text('requireUidList') === 'true',
        unitData: unitDataIn(form),
        configWords: configWordsIn(form),
      },
    }),
    to: ({ jobId }) => `/console/jobs/${jobId}`,
    done: 'The job is drafted.',
  },
  'bind-firmware': {
    label: 'Bind firmware',
    title: ids => `Bind firmware to job ${short(ids)}`,
    about: 'One bootloader and one application, published releases of the line.',
    roles: planners,
    tone: 'primary',
    fields: async (visit, [jobId]) => {
      const { line } = await visit.get<JobAnswer>(`/v1/jobs/${jobId}`);
      const releases = await visit.all<ReleaseRowAnswer>(`/v1/releases?line=${line}`, 'releases');
      const published = releases.filter(({ status }) => status === 'PUBLISHED');
      const options = published.map(({ releaseId, image, version }) => [releaseId, `${image} ${version}`] as const);
      return [{ name: 'releaseId', label: 'Release', kind: 'select', options }];
    },
    back,
    request: ([jobId], form) => ({ method: 'POST', path: `/v1/jobs/${jobId}/firmware`, body: { releaseId: form.text('releaseId') } }),
    done: 'The firmware is bound.',
  },
  'attach-uids': {
    label: 'Attach list of chips',
    title: ids => `Chips of job ${short(ids)}`,
    about:
      'Only chips on the list are built. One UID of 24 or 32 hex digits on each line, at most 8 MiB here; longer lists: nusec job uids.',
    roles: planners,
    fields: [{ name: 'uids', label: 'File with UIDs', kind: 'file' }],
    back,
    request: ([jobId], form) => ({
      method: 'PUT',
      path: `/v1/jobs/${jobId}/uids`,
      body: form.file('uids'),
      headers: { 'Content-Type': 'text/plain' },
    }),
    done: 'The list is attached.',
  },
  'release-job': step(
    'release',
    {
      label: 'Release',
      verb: 'Release job',
      about: 'Production may begin. Nobody who worked on the draft releases it.',
      roles: planners,
      tone: 'primary',
      look: async (visit, [jobId]) => {
        const job = await visit.get<JobAnswer>(`/v1/jobs/${jobId}`);
        return facts([
          ['Line', job.line],
          ['Units', `${job.plannedCount}, up to ${job.scrapAllowance} more for scrap`],
          ['Bootloader', job.bl2?.version],
          ['Application', job.app?.version],
          ['Site', job.site ?? 'any'],
          ['Worked on by', job.contributors?.join(', ')],
          ['Content', id(job.contentSha256 ?? '', 32)],
        ]);
      },
      fields: contentAt(jobId => `/v1/jobs/${jobId}`),
      done: 'The job is released.',
    },
    contentOf,
  ),
  allot: {
    label: 'Give a share',
    title: ids => `Share of job ${short(ids)}`,
    about: 'How many units a programmer builds in all. A share is only raised later.',
    roles: planners,
    fields: [
      { name: 'programmer', label: 'UID of the programmer' },
      { name: 'count', label: 'Units', kind: 'number' },
      { name: 'scrapAllowance', label: 'Allowance for scrap', kind: 'number', isOptional: true },
    ],
    back,
    request: ([jobId], form) => ({
      method: 'POST',
      path: `/v1/jobs/${jobId}/allotments`,
      body: { programmer: form.text('programmer'), count: form.number('count'), scrapAllowance: form.number('scrapAllowance') },
    }),
    done: 'The programmer has its share.',
  },
  'export-package': {
    label: 'Export package',
    title: ids => `Package for job ${short(ids)}`,
    about: 'The production package of this programmer, encrypted for it: the same file again, or a new one that supersedes it.',
    roles: drivers,
    tone: 'primary',
    fields: [{ name: 'replace', label: 'Make a new package that supersedes the last one (planners)', kind: 'check' }],
    back,
    request: ([jobId, programmer], form) => ({
      method: 'POST',
      path: `/v1/jobs/${jobId}/allotments/${programmer}/export`,
      body: { replace: form.text('replace') === 'true' },
    }),
    fileName: ids => `${short(ids)}-${(ids[1] ?? '').slice(-8)}.njp`,
    done: 'The package is exported.',
  },
  'thaw-share': {
    label: 'Thaw',
    title: ids => `Thaw a share of job ${short(ids)}`,
    about: 'A cloned key has frozen this share. It goes on from here.',
    roles: planners,
    fields: [reason],
    back,
    request: ([jobId, programmer], form) => ({
      method: 'POST',
      path: `/v1/jobs/${jobId}/allotments/${programmer}/thaw`,
      body: { reason: form.text('reason') },
    }),
    done: 'The share goes on.',
  },
  'propose-thaw': {
    label: 'Propose to thaw',
    title: ids => `Propose to thaw a share of job ${short(ids)}`,
    about: 'For a share that is frozen for any reason. Another planner or an officer approves it, and then it goes on.',
    roles: planners,
    fields: [reason],
    back,
    request: ([jobId, programmer], form) => ({
      method: 'POST',
      path: `/v1/jobs/${jobId}/allotments/${programmer}/thaw-proposals`,
      body: { reason: form.text('reason') },
    }),
    answer: ({ id }, ids) =>
      html`<div class="narrow"><h1>Proposed</h1><p class="notice" role="status">Another person approves it here, or by this id.</p><p class="secret" id="proposal">${id as string}</p><p><a href="${back(ids)}">Back</a></p></div>`,
    done: '',
  },
  'approve-thaw': {
    label: 'Approve a thaw',
    title: ids => `Approve a thaw of a share of job ${short(ids)}`,
    about: 'The share goes on. Whoever proposed it does not approve it.',
    roles: [...planners, 'securityOfficer'],
    look: async (visit, ids) => {
      const proposal = await waitingThaw(visit, ids);
      return facts([
        ['Frozen', proposal?.frozenReason],
        ['Proposed', proposal && `${proposal.by}: ${proposal.reason}`],
      ]);
    },
    fields: async (visit, ids) => {
      const proposal = await waitingThaw(visit, ids);
      return [{ name: 'proposal', label: '', kind: 'hidden', value: proposal?.id }, lookedAt(proposal?.contentSha256)];
    },
    back,
    request: ([jobId, programmer], form) => ({
      method: 'POST',
      path: `/v1/jobs/${jobId}/allotments/${programmer}/thaw-proposals/${form.text('proposal')}/approve`,
      body: contentOf(form),
    }),
    done: 'The share goes on.',
  },
  'suspend-job': step('suspend', {
    label: 'Suspend',
    verb: 'Suspend job',
    fields: [reason],
    about: 'No unit is begun any more, until the job is resumed.',
    roles: drivers,
    done: 'The job is suspended.',
  }),
  'resume-job': step('resume', {
    label: 'Resume',
    verb: 'Resume job',
    about: 'Production goes on.',
    roles: drivers,
    tone: 'primary',
    done: 'The job goes on.',
  }),
  'cancel-job': step('cancel', {
    label: 'Cancel job',
    verb: 'Cancel job',
    fields: [reason],
    about: 'Gives up a job that was never released.',
    roles: planners,
    tone: 'danger',
    done: 'The job is cancelled.',
  }),
  'close-job': {
    label: 'Close…',
    title: ids => `Close job ${short(ids)}`,
    about: 'Ends the job and reconciles it: every ledger is held against every certificate and receipt. This cannot be undone.',
    roles: planners,
    tone: 'danger',
    fields: [
      {
        name: 'withoutReceipt',
        label: 'Why it closes without the receipts of all programmers',
        isOptional: true,
        hint: 'Only when a programmer will never report again. Leave it empty otherwise.',
      },
    ],
    typed: short,
    back,
    request: ([jobId], form) => ({
      method: 'POST',
      path: `/v1/jobs/${jobId}/close`,
      body: { withoutReceipt: form.text('withoutReceipt') },
    }),
    done: 'The job is closed.',
  },
};
