import type { Kysely } from 'kysely';
import { linesWithin, type Scope } from '../domain/roles.ts';
import { type RolloutStatus, rolloutWalk } from '../domain/rollout.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import { on, type Projection, subjectOf } from './projection.ts';
import { statusColumn } from './statusColumn.ts';

/** Progress of rollouts. A device counts as upgraded by FirmwareUpgraded alone, which only evidence leads to (I18, RULE-18). */

export type RolloutRow = {
  rollout_id: string;
  release_id: string;
  line: string;
  status: RolloutStatus;
  planned_by: string;
  planned_at: string;
  groups: number;
  started_groups: number;
  passed_groups: number;
  /** Devices in the groups that have started. */
  devices: number;
  /** Devices of the group that has started last. */
  group_devices: number;
  reason: string | null;
};
export type RolloutDeviceRow = {
  offer_id: string;
  rollout_id: string;
  uid: string;
  /** `started`: it fetches the image. */
  status: 'offered' | 'started' | 'written' | 'testing' | 'upgraded' | 'failed' | 'cancelled';
  reason: string | null;
  offered_at: string;
  changed_at: string;
};
/** Neither upgraded nor given up. */
const underwayStatuses = ['offered', 'started', 'written', 'testing'] as const;
export type RolloutTables = { rollouts: RolloutRow; rollout_devices: RolloutDeviceRow };

export const rollouts: Projection = {
  name: 'rollouts',
  version: 3,
  namesPeople: true,
  tables: ['rollouts', 'rollout_devices'],
  schema: table => `
    CREATE TABLE ${table('rollouts')} (
      rollout_id TEXT PRIMARY KEY, release_id TEXT NOT NULL, line TEXT NOT NULL, status TEXT NOT NULL, planned_by TEXT NOT NULL,
      planned_at TEXT NOT NULL, groups INTEGER NOT NULL, started_groups INTEGER NOT NULL, passed_groups INTEGER NOT NULL,
      devices INTEGER NOT NULL, group_devices INTEGER NOT NULL, reason TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('rollouts')}_status ON ${table('rollouts')} (status);
    CREATE TABLE ${table('rollout_devices')} (
      offer_id TEXT PRIMARY KEY, rollout_id TEXT NOT NULL, uid TEXT NOT NULL, status TEXT NOT NULL, reason TEXT,
      offered_at TEXT NOT NULL, changed_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('rollout_devices')}_rollout ON ${table('rollout_devices')} (rollout_id, uid, offered_at);
    CREATE INDEX ${table('rollout_devices')}_status ON ${table('rollout_devices')} (status, rollout_id);`,
  writer(db, table) {
    const [name, devices] = [table('rollouts'), table('rollout_devices')];
    const plan = db.prepare(`INSERT INTO ${name} VALUES (?, ?, ?, 'PLANNED', ?, ?, ?, 0, 0, 0, 0, NULL) ON CONFLICT DO NOTHING`);
    const explain = db.prepare(`UPDATE ${name} SET reason = ? WHERE rollout_id = ?`);
    const start = db.prepare(
      `UPDATE ${name} SET started_groups = started_groups + 1, devices = devices + ?, group_devices = ? WHERE rollout_id = ?`,
    );
    const joined = db.prepare(`UPDATE ${name} SET devices = devices + ? - group_devices, group_devices = ? WHERE rollout_id = ?`);
    const pass = db.prepare(`UPDATE ${name} SET passed_groups = passed_groups + 1 WHERE rollout_id = ?`);
    const offer = db.prepare(`INSERT INTO ${devices} VALUES (?, ?, ?, 'offered', NULL, ?, ?) ON CONFLICT DO NOTHING`);
    const advance = db.prepare(`UPDATE ${devices} SET status = ?, reason = ?, changed_at = ? WHERE offer_id = ?`);
    const keepStatus = statusColumn(db, name, 'rollout_id', rolloutWalk);
    const because = ({ stream, data: { reason } }: Recorded<'RolloutPaused' | 'RolloutHalted' | 'RolloutAborted'>) =>
      explain.run(reason, subjectOf(stream));
    const noReason = ({ stream }: Recorded) => explain.run(null, subjectOf(stream));
    const keepFacts = on({
      RolloutPlanned({ stream, at, data: { releaseId, line, plannedBy, groups } }) {
        plan.run(subjectOf(stream), releaseId, line, plannedBy, at, groups.length);
      },
      GroupStarted: ({ stream, data }) => start.run(data.deviceCount, data.deviceCount, subjectOf(stream)),
      DevicesJoined: ({ stream, data }) => joined.run(data.deviceCount, data.deviceCount, subjectOf(stream)),
      GroupPassed: ({ stream }) => pass.run(subjectOf(stream)),
      RolloutPaused: because,
      RolloutHalted: because,
      RolloutAborted: because,
      RolloutResumed: noReason,
      RolloutCompleted: noReason,
      FirmwareOffered({ stream, at, data: { offerId, rolloutId } }) {
        if (rolloutId !== undefined) offer.run(offerId, rolloutId, subjectOf(stream), at, at);
      },
      UpgradeStarted: ({ at, data }) => advance.run('started', null, at, data.offerId),
      UpgradeAdvanced: ({ at, data }) => advance.run(data.phase === 'downloading' ? 'started' : data.phase, null, at, data.offerId),
      UpgradeCancelled: ({ at, data }) => advance.run('cancelled', data.reason, at, data.offerId),
      FirmwareUpgraded: ({ at, data }) => advance.run('upgraded', null, at, data.offerId),
      UpgradeFailed: ({ at, data }) => advance.run('failed', data.reason, at, data.offerId),
    });
    return event => {
      keepFacts(event);
      keepStatus(event);
    };
  },
};

export type RolloutPage = {
  readonly status?: RolloutStatus | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
  readonly scope?: Scope | undefined;
};

export const rolloutQueries = (db: Kysely<RolloutTables>) => ({
  byId: (rolloutId: string) => db.selectFrom('rollouts').selectAll().where('rollout_id', '=', rolloutId).executeTakeFirst(),
  page: ({ status, after, limit, scope }: RolloutPage) => {
    const lines = linesWithin(scope ?? {});
    let query = db.selectFrom('rollouts').selectAll().orderBy('rollout_id').limit(limit);
    if (status !== undefined) query = query.where('status', '=', status);
    if (after !== undefined) query = query.where('rollout_id', '>', after);
    if (lines !== undefined) query = query.where('line', 'in', lines);
    return query.execute();
  },
  /** Rollouts of the same line that were planned later and have come to their end. */
  completedAfter: ({ line, planned_at }: Pick<RolloutRow, 'line' | 'planned_at'>) =>
    db
      .selectFrom('rollouts')
      .selectAll()
      .where('status', '=', 'COMPLETED')
      .where('line', '=', line)
      .where('planned_at', '>', planned_at)
      .execute(),
  /** Rollouts that have not ended, and those that have while devices are under way. */
  unfinished: async () => {
    const open = db.selectFrom('rollouts').select('rollout_id').where('status', 'in', ['PLANNED', 'APPROVED', 'RUNNING', 'PAUSED']);
    const underway = db.selectFrom('rollout_devices').select('rollout_id').where('status', 'in', underwayStatuses);
    return (await open.union(underway).execute()).map(row => row.rollout_id);
  },
  devicesOf: (rolloutId: string) =>
    db.selectFrom('rollout_devices').selectAll().where('rollout_id', '=', rolloutId).orderBy('uid').orderBy('offered_at').execute(),
});
