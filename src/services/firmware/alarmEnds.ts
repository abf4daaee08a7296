import { isEnded, rollout } from '../../domain/rollout.ts';
import { type OpenedVulnerability, openReports, vulnerability } from '../../domain/vulnerability.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { rolloutQueries } from '../../projections/rollouts.ts';
import type { AlarmEnd } from '../base/alarmEnds.ts';
import { type Context, stateOf } from '../base/context.ts';
import { recallCode, recalledReleaseOf } from './recall.ts';

/** When alarms about releases, rollouts and vulnerabilities are over. */

export const firmwareAlarmModels = ['releases', 'devices', 'rollouts'];

export const firmwareAlarmEnds: readonly AlarmEnd[] = [
  {
    code: recallCode,
    after: ['FirmwareInstalled', 'FirmwareUpgraded', 'CertificateRevoked', 'DeviceDecommissioned'],
    because: async (ctx, subject) =>
      (await deviceQueries(ctx.reads.db).countOf(recalledReleaseOf(subject))) === 0 ? 'no device runs it any more' : undefined,
  },
  { code: 'RolloutHalted', after: ['RolloutAborted', 'RolloutCompleted', 'ReleaseWithdrawn'], because: whyHaltIsOver },
  {
    code: 'UPDATE_STALE',
    after: ['RolloutAborted', 'RolloutCompleted', 'RolloutHalted'],
    because: async (ctx, subject) => {
      const state = await stateOf(ctx, rollout, subject);
      return state.status !== 'NONE' && isEnded(state) ? `the rollout is ${state.status}` : undefined;
    },
  },
  {
    code: 'VulnerabilityReachedDevices',
    after: ['VulnerabilityClosed'],
    because: ofCase(({ status, closed }) => (status === 'CLOSED' ? closed?.reason : undefined)),
  },
  {
    code: 'VulnerabilityReportDue',
    after: ['VulnerabilityReported', 'VulnerabilityReportMissed', 'VulnerabilityClosed'],
    because: ofCase(state => (openReports(state).due.length === 0 ? 'nothing is due any more' : undefined)),
  },
  {
    code: 'VulnerabilityReportMissed',
    after: ['VulnerabilityReported', 'VulnerabilityClosed'],
    because: ofCase(state => (openReports(state).late.length === 0 ? 'nothing is late any more' : undefined)),
  },
];

/** It was given up, its release is at fault, or a later rollout of the same image has brought at least as many devices to where they are. */
async function whyHaltIsOver(ctx: Context, subject: string): Promise<string | undefined> {
  const state = await stateOf(ctx, rollout, subject);
  if (state.status === 'NONE') return undefined;
  if (state.status !== 'HALTED') return `the rollout is ${state.status}`;
  const rows = rolloutQueries(ctx.reads.db);
  const halted = await rows.byId(state.rolloutId);
  if (halted === undefined) return undefined;
  const later = (await rows.completedAfter(halted)).filter(({ devices }) => devices >= halted.devices);
  const releases = await releaseQueries(ctx.reads.db).byIds([halted.release_id, ...later.map(({ release_id }) => release_id)]);
  const releaseOf = new Map(releases.map(release => [release.release_id, release]));
  const release = releaseOf.get(halted.release_id);
  if (release?.status === 'WITHDRAWN') return 'its release is withdrawn';
  const over = later.find(({ release_id }) => releaseOf.get(release_id)?.image === release?.image);
  return over && `rollout ${over.rollout_id} has brought as many devices to their release`;
}

function ofCase(because: (state: OpenedVulnerability) => string | undefined): AlarmEnd['because'] {
  return async (ctx, subject) => {
    const state = await stateOf(ctx, vulnerability, subject);
    return state.status === 'NONE' ? undefined : because(state);
  };
}
