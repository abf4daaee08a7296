import type { Kysely } from 'kysely';
import type { Projection } from './projection.ts';

/** Progress of rollouts. A device counts as upgraded by FirmwareUpgraded alone, which only evidence leads to (I18, RULE-18). */

export type RolloutRow = {
  rollout_id: string;
  release_id: string;
  line: string;
  status: 'PLANNED' | 'APPROVED' | 'RUNNING' | 'PAUSED' | 'HALTED' | 'COMPLETED' | 'ABORTED';
  planned_by: string;
  planned_at: string;
  groups: number;
  started_groups: number;
  passed_groups: number;
  /** Devices in the groups that have started. */
  devices: number;
  reason: string | null;
};
export type RolloutDeviceRow = {
  offer_id: string;
  rollout_id: string;
  uid: string;
  status: 'offered' | 'started' | 'upgraded' | 'failed';
  reason: string | null;
  offered_at: string;
  changed_at: string;
};
export type RolloutTables = { rollouts: RolloutRow; rollout_devices: RolloutDeviceRow };

const statuses: Readonly<Record<string, RolloutRow['status']>> = {
  RolloutApproved: 'APPROVED',
  RolloutStarted: 'RUNNING',
  RolloutPaused: 'PAUSED',
  RolloutResumed: 'RUNNING',
  RolloutHalted: 'HALTED',
  RolloutCompleted: 'COMPLETED',
  RolloutAborted: 'ABORTED',
};
const deviceStatuses: Readonly<Record<string, RolloutDeviceRow['status']>> = {
  UpgradeStarted: 'started',
  FirmwareUpgraded: 'upgraded',
  UpgradeFailed: 'failed',
};

export const rollouts: Projection = {
  name: 'rollouts',
  version: 1,
  tables: ['rollouts', 'rollout_devices'],
  schema: table => `
    CREATE TABLE ${table('rollouts')} (
      rollout_id TEXT PRIMARY KEY, release_id TEXT NOT NULL, line TEXT NOT NULL, status TEXT NOT NULL, planned_by TEXT NOT NULL,
      planned_at TEXT NOT NULL, groups INTEGER NOT NULL, started_groups INTEGER NOT NULL, passed_groups INTEGER NOT NULL,
      devices INTEGER NOT NULL, reason TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('rollouts')}_status ON ${table('rollouts')} (status);
    CREATE TABLE ${table('rollout_devices')} (
      offer_id TEXT PRIMARY KEY, rollout_id TEXT NOT NULL, uid TEXT NOT NULL, status TEXT NOT NULL, reason TEXT,
      offered_at TEXT NOT NULL, changed_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('rollout_devices')}_rollout ON ${table('rollout_devices')} (rollout_id, uid);`,
  writer(db, table) {
    const [name, devices] = [table('rollouts'), table('rollout_devices')];
    const plan = db.prepare(`INSERT OR IGNORE INTO ${name} VALUES (?, ?, ?, 'PLANNED', ?, ?, ?, 0, 0, 0, NULL)`);
    const move = db.prepare(`UPDATE ${name} SET status = ?, reason = ? WHERE rollout_id = ?`);
    const start = db.prepare(`UPDATE ${name} SET started_groups = started_groups + 1, devices = devices + ? WHERE rollout_id = ?`);
    const pass = db.prepare(`UPDATE ${name} SET passed_groups = passed_groups + 1 WHERE rollout_id = ?`);
    const offer = db.prepare(`INSERT OR IGNORE INTO ${devices} VALUES (?, ?, ?, 'offered', NULL, ?, ?)`);
    const advance = db.prepare(`UPDATE ${devices} SET status = ?, reason = ?, changed_at = ? WHERE offer_id = ?`);
    return ({ stream, type, at, data }) => {
      const id = stream.slice(stream.indexOf('-') + 1);
      const reason = data.reason === undefined ? null : String(data.reason);
      const [status, deviceStatus] = [statuses[type], deviceStatuses[type]];
      if (type === 'RolloutPlanned') {
        const { releaseId, line, plannedBy, groups } = data as {
          releaseId: string;
          line: string;
          plannedBy: string;
          groups: readonly unknown[];
        };
        plan.run(id, releaseId, line, plannedBy, at, groups.length);
      } else if (type === 'GroupStarted') start.run(Number(data.deviceCount), id);
      else if (type === 'GroupPassed') pass.run(id);
      else if (type === 'FirmwareOffered' && data.rolloutId !== undefined)
        offer.run(String(data.offerId), String(data.rolloutId), id, at, at);
      else if (deviceStatus !== undefined) advance.run(deviceStatus, reason, at, String(data.offerId));
      else if (status !== undefined) move.run(status, reason, id);
    };
  },
};

type Page = { readonly after?: string | undefined; readonly limit: number };

export const rolloutQueries = (db: Kysely<RolloutTables>) => ({
  byId: (rolloutId: string) => db.selectFrom('rollouts').selectAll().where('rollout_id', '=', rolloutId).executeTakeFirst(),
  page: ({ after, limit }: Page) => {
    const query = db.selectFrom('rollouts').selectAll().orderBy('rollout_id').limit(limit);
    return (after === undefined ? query : query.where('rollout_id', '>', after)).execute();
  },
  running: async () =>
    (await db.selectFrom('rollouts').select('rollout_id').where('status', 'in', ['RUNNING', 'PAUSED']).execute()).map(
      row => row.rollout_id,
    ),
  devicesOf: (rolloutId: string) =>
    db.selectFrom('rollout_devices').selectAll().where('rollout_id', '=', rolloutId).orderBy('uid').execute(),
});
