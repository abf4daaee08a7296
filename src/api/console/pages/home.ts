import { html } from 'hono/html';
import { dayMs } from '../../../times.ts';
import type { AlarmCaseAnswer } from '../../alarms.ts';
import type { CertificateAnswer } from '../../certificates.ts';
import type { DeviceCountAnswer } from '../../devices.ts';
import type { JobRowAnswer } from '../../jobViews.ts';
import type { AttestationLagAnswer, LogHealthAnswer, ScheduleAnswer } from '../../overview.ts';
import type { RolloutRowAnswer } from '../../rollouts.ts';
import type { Html, Page } from '../layout.ts';
import { badge, bar, type Column, card, figure, heading, link, table } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { caseColumns } from './alarms.ts';
import { byState } from './fleet.ts';
import { jobColumns } from './jobs.ts';
import { logFacts } from './log.ts';
import { rolloutColumns } from './rollouts.ts';

/** Home: what needs somebody now, and how everything is going. Each part is there for those who may see it. */

const shownRows = 5;
const mostCounted = 500;
const soonDays = 30;

export async function homePage(visit: Visit): Promise<Page> {
  const soon = new Date(Date.now() + soonDays * dayMs).toISOString().slice(0, 10);
  const [alarms, devices, lag, attestations, rollouts, jobs, certificates, log] = await Promise.all([
    visit.getIfAllowed<{ readonly cases: readonly AlarmCaseAnswer[] }>(`/v1/alarm-cases?state=open&limit=${mostCounted}`),
    visit.getIfAllowed<{ readonly counts: readonly DeviceCountAnswer[] }>('/v1/devices/counts'),
    visit.getIfAllowed<AttestationLagAnswer>('/v1/attestations/lag'),
    visit.getIfAllowed<{ readonly schedules: readonly ScheduleAnswer[] }>('/v1/attestations/schedules'),
    visit.getIfAllowed<{ readonly rollouts: readonly RolloutRowAnswer[] }>(`/v1/rollouts?status=RUNNING&limit=${mostCounted}`),
    visit.getIfAllowed<{ readonly jobs: readonly JobRowAnswer[] }>(`/v1/jobs?status=RUNNING&limit=${mostCounted}`),
    visit.getIfAllowed<{ readonly certificates: readonly CertificateAnswer[] }>(
      `/v1/certificates?status=issued&endsBefore=${soon}&limit=${mostCounted}`,
    ),
    visit.getIfAllowed<LogHealthAnswer>('/v1/log/health'),
  ]);
  const content = html`${heading('Home', `Signed in as ${visit.person.name}: ${visit.person.roles.join(', ')}`)}
<div class="figures">
${alarms && figure(countOf(alarms.cases), named(alarms.cases, 'open alarm', 'open alarms'), '/console/alarms', alarms.cases.length > 0 ? 'bad' : 'good')}
${devices && figure(total(devices.counts), total(devices.counts) === '1' ? 'device' : 'devices', '/console/fleet')}
${lag && figure(shareOf(lag), 'attested within a day', '/console/fleet?attestation=none', lag.withinDay < lag.inUse ? 'busy' : 'good')}
${rollouts && figure(countOf(rollouts.rollouts), named(rollouts.rollouts, 'rollout running', 'rollouts running'), '/console/rollouts')}
${jobs && figure(countOf(jobs.jobs), named(jobs.jobs, 'job running', 'jobs running'), '/console/jobs')}
${certificates && figure(countOf(certificates.certificates), named(certificates.certificates, `certificate ends in ${soonDays} days`, `certificates end in ${soonDays} days`), `/console/certificates?status=issued&endsBefore=${soon}`, certificates.certificates.length > 0 ? 'busy' : 'quiet')}
</div>
${alarms && card('Open alarms', table('Open alarms', caseColumns(visit), alarms.cases.slice(0, shownRows), 'No alarm is open.'), [link('/console/alarms', 'All alarms')])}
<div class="columns">
${devices && card('Devices by state', byState(devices.counts), [link('/console/fleet', 'Fleet')])}
${jobs && card('Yield of running jobs', yieldOf(jobs.jobs), [link('/console/jobs', 'Production')])}
</div>
${attestations && attestations.schedules.length > 0 ? card('Attestation schedules', table('Attestation schedules', scheduleColumns, attestations.schedules, '')) : ''}
${rollouts && card('Rollouts running', table('Rollouts running', rolloutColumns, rollouts.rollouts.slice(0, shownRows), 'No rollout is running.'), [link('/console/rollouts', 'Rollouts')])}
${jobs && card('Jobs running', table('Jobs running', jobColumns, jobs.jobs.slice(0, shownRows), 'No job is running.'), [link('/console/jobs', 'Production')])}
${log && card('Log and checkpoints', logFacts(log), [link('/console/log', 'Log')])}`;
  return { title: 'Home', content, isLive: true };
}

const scheduleColumns: readonly Column<ScheduleAnswer>[] = [
  { name: 'Line', cell: ({ line }) => link(`/console/lines/${line}`, line) },
  { name: 'Every', cell: ({ everyHours }) => (everyHours === undefined ? null : `${everyHours} h`) },
  { name: 'Attested', cell: ({ attested, inService }) => `${attested} of ${inService}` },
  { name: 'Left', cell: ({ left }) => left, kind: 'number' },
  { name: 'Failed', cell: ({ results }) => results.failed, kind: 'number' },
  { name: 'Unsupported', cell: ({ results }) => results.unsupported, kind: 'number' },
  { name: 'State', cell: ({ overdue }) => (overdue ? badge('overdue', 'bad') : badge('in time', 'good')) },
];

const countOf = (rows: readonly unknown[]): string => (rows.length === mostCounted ? `${mostCounted}+` : String(rows.length));
const named = (rows: readonly unknown[], one: string, many: string): string => (rows.length === 1 ? one : many);
const total = (counts: readonly DeviceCountAnswer[]): string => counts.reduce((sum, { count }) => sum + count, 0).toLocaleString('en');
const shareOf = ({ inUse, withinDay }: AttestationLagAnswer): string =>
  inUse === 0 ? '–' : `${Math.floor((100 * Math.min(withinDay, inUse)) / inUse)} %`;

/** Units of all running jobs together. */
function yieldOf(jobs: readonly JobRowAnswer[]): Html {
  const sum = (name: 'committed' | 'voided' | 'scrapped' | 'reserved' | 'plannedCount') => jobs.reduce((all, job) => all + job[name], 0);
  const open = sum('reserved') - sum('committed') - sum('voided');
  return bar('Units of running jobs', [
    ['built', sum('committed'), 'good'],
    ['under way', open, 'busy'],
    ['given up', sum('voided') - sum('scrapped'), 'quiet'],
    ['scrapped', sum('scrapped'), 'bad'],
    ['to come', Math.max(0, sum('plannedCount') - sum('committed') - open), 'quiet'],
  ]);
}
