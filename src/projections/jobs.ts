import type { Kysely } from 'kysely';
import type { RecordedEvent } from '../eventstore/port.ts';
import type { Projection } from './projection.ts';
import { unitWriter } from './units.ts';

/** Job board: production jobs, the share of every programmer, and every unit that was ever reserved (R82, R83). */

export type JobRow = {
  job_id: string;
  line: string;
  planned_count: number;
  scrap_allowance: number;
  status: string;
  bl2_version: string | null;
  app_version: string | null;
  uid_count: number | null;
  created_by: string;
  created_at: string;
  released_by: string | null;
  verdict: string | null;
};

export type AllotmentRow = {
  job_id: string;
  programmer: string;
  quota: number;
  scrap_allowance: number;
  status: string;
  frozen_reason: string | null;
  sequence: number;
  reserved: number;
  committed: number;
  voided: number;
  scrapped: number;
  ledger_number: number;
  changed_at: string;
};

export type UnitRow = {
  grant_id: string;
  job_id: string;
  programmer: string;
  uid: string;
  obj_id: string;
  number: number;
  status: 'RESERVED' | 'CERTIFIED' | 'ROOTED' | 'LOCKED' | 'AUTHENTICATED' | 'INSTALLED' | 'COMMITTED' | 'VOIDED' | 'SCRAPPED';
  reason: string | null;
  version: string | null;
  image_hash: string | null;
  serial: string | null;
  expires_at: string;
  reserved_at: string;
  certified_at: string | null;
  locked_at: string | null;
  finished_at: string | null;
  seen_in_field: number;
  /** 1 while the device is still in production. */
  device_open: number;
  /** When an open unit is given up: with its grant, or later where a chip would be lost with it. */
  waits_until: string;
};

export type JobTables = { jobs: JobRow; allotments: AllotmentRow; units: UnitRow };

const jobStatuses: Readonly<Record<string, string>> = {
  JobReleased: 'RELEASED',
  JobSuspended: 'SUSPENDED',
  JobClosed: 'CLOSED',
  JobCancelled: 'CANCELLED',
  JobReconciled: 'RECONCILED',
};

export const jobs: Projection = {
  name: 'jobs',
  version: 2,
  tables: ['jobs', 'allotments', 'units'],
  schema: table => `
    CREATE TABLE ${table('jobs')} (
      job_id TEXT PRIMARY KEY, line TEXT NOT NULL, planned_count INTEGER NOT NULL, scrap_allowance INTEGER NOT NULL, status TEXT NOT NULL,
      bl2_version TEXT, app_version TEXT, uid_count INTEGER, created_by TEXT NOT NULL, created_at TEXT NOT NULL, released_by TEXT, verdict TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ${table('allotments')} (
      job_id TEXT NOT NULL, programmer TEXT NOT NULL, quota INTEGER NOT NULL, scrap_allowance INTEGER NOT NULL, status TEXT NOT NULL,
      frozen_reason TEXT, sequence INTEGER NOT NULL, reserved INTEGER NOT NULL, committed INTEGER NOT NULL, voided INTEGER NOT NULL,
      scrapped INTEGER NOT NULL, ledger_number INTEGER NOT NULL, changed_at TEXT NOT NULL, PRIMARY KEY (job_id, programmer)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('allotments')}_programmer ON ${table('allotments')} (programmer);
    CREATE TABLE ${table('units')} (
      grant_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, programmer TEXT NOT NULL, uid TEXT NOT NULL, obj_id TEXT NOT NULL, number INTEGER NOT NULL,
      status TEXT NOT NULL, reason TEXT, version TEXT, image_hash TEXT, serial TEXT, expires_at TEXT NOT NULL, reserved_at TEXT NOT NULL,
      certified_at TEXT, locked_at TEXT, finished_at TEXT, seen_in_field INTEGER NOT NULL, device_open INTEGER NOT NULL,
      waits_until TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('units')}_job ON ${table('units')} (job_id, programmer, number);
    CREATE INDEX ${table('units')}_uid ON ${table('units')} (uid);
    CREATE INDEX ${table('units')}_device_open ON ${table('units')} (finished_at) WHERE device_open = 1;
    CREATE INDEX ${table('units')}_open ON ${table('units')} (waits_until) WHERE finished_at IS NULL;`,
  writer(db, table) {
    const writers = [
      jobWriter(db, table('jobs'), table('allotments')),
      allotmentWriter(db, table('allotments')),
      unitWriter(db, table('units')),
    ];
    return event => {
      for (const write of writers) write(event);
    };
  },
};

type Db = Parameters<Projection['writer']>[0];

function jobWriter(db: Db, name: string, allotments: string): (event: RecordedEvent) => void {
  const create = db.prepare(`INSERT OR IGNORE INTO ${name} VALUES (?, ?, ?, ?, 'DRAFT', NULL, NULL, NULL, ?, ?, NULL, NULL)`);
  const bind = {
    bl2: db.prepare(`UPDATE ${name} SET bl2_version = ? WHERE job_id = ?`),
    app: db.prepare(`UPDATE ${name} SET app_version = ? WHERE job_id = ?`),
  };
  const define = db.prepare(
    `UPDATE ${name} SET status = 'DEFINED' WHERE job_id = ? AND status = 'DRAFT' AND bl2_version IS NOT NULL AND app_version IS NOT NULL`,
  );
  const list = db.prepare(`UPDATE ${name} SET uid_count = ? WHERE job_id = ?`);
  const move = db.prepare(`UPDATE ${name} SET status = ? WHERE job_id = ?`);
  const released = db.prepare(`UPDATE ${name} SET released_by = ? WHERE job_id = ?`);
  const resume = db.prepare(
    `UPDATE ${name} SET status = CASE WHEN EXISTS (SELECT 1 FROM ${allotments} a WHERE a.job_id = ${name}.job_id) THEN 'RUNNING' ELSE 'RELEASED' END WHERE job_id = ?`,
  );
  const judge = db.prepare(`UPDATE ${name} SET verdict = ? WHERE job_id = ?`);
  return ({ type, stream, data, at }) => {
    const jobId = stream.slice('job-'.length);
    const status = jobStatuses[type];
    if (type === 'JobCreated') {
      create.run(jobId, String(data.line), Number(data.plannedCount), Number(data.scrapAllowance), String(data.createdBy), at);
    } else if (type === 'FirmwareBoundToJob') {
      bind[data.image === 'bl2' ? 'bl2' : 'app'].run(String(data.version), jobId);
      define.run(jobId);
    } else if (type === 'UidListAttached') list.run(Number(data.count), jobId);
    else if (type === 'AllotmentMade') move.run('RUNNING', jobId);
    else if (type === 'JobResumed') resume.run(jobId);
    else if (status !== undefined) move.run(status, jobId);
    if (type === 'JobReleased') released.run(String(data.by), jobId);
    if (type === 'JobReconciled') judge.run(String(data.verdict), jobId);
  };
}

function allotmentWriter(db: Db, name: string): (event: RecordedEvent) => void {
  const key = 'WHERE job_id = ? AND programmer = ?';
  const open = db.prepare(`INSERT OR IGNORE INTO ${name} VALUES (?, ?, ?, ?, 'OPEN', NULL, 0, 0, 0, 0, 0, 0, ?)`);
  const raise = db.prepare(
    `UPDATE ${name} SET quota = ?, scrap_allowance = ?, status = CASE status WHEN 'EXHAUSTED' THEN 'READY' WHEN 'CLOSED' THEN 'OPEN' ELSE status END, changed_at = ? ${key}`,
  );
  const exported = db.prepare(`UPDATE ${name} SET sequence = ?, changed_at = ? ${key}`);
  const move = db.prepare(`UPDATE ${name} SET status = ?, frozen_reason = ?, changed_at = ? ${key}`);
  const count = {
    UnitReserved: db.prepare(`UPDATE ${name} SET reserved = reserved + 1, changed_at = ? ${key}`),
    UnitCommitted: db.prepare(`UPDATE ${name} SET committed = committed + 1, changed_at = ? ${key}`),
    UnitVoided: db.prepare(`UPDATE ${name} SET voided = voided + 1, changed_at = ? ${key}`),
  };
  const scrap = db.prepare(`UPDATE ${name} SET scrapped = scrapped + 1 ${key}`);
  const ledger = db.prepare(`UPDATE ${name} SET ledger_number = ?, changed_at = ? ${key}`);
  return ({ type, stream, data, at }) => {
    if (!stream.startsWith('allotment-')) return;
    const [, jobId = '', programmer = ''] = stream.split('-');
    if (type === 'AllotmentOpened') open.run(jobId, programmer, Number(data.quota), Number(data.scrapAllowance), at);
    else if (type === 'AllotmentRaised') raise.run(Number(data.quota), Number(data.scrapAllowance), at, jobId, programmer);
    else if (type === 'PackageExported') exported.run(Number(data.sequence), at, jobId, programmer);
    else if (type === 'PackageImported') move.run('READY', null, at, jobId, programmer);
    else if (type === 'AllotmentExhausted') move.run('EXHAUSTED', null, at, jobId, programmer);
    else if (type === 'AllotmentFrozen') move.run('FROZEN', String(data.reason), at, jobId, programmer);
    else if (type === 'AllotmentThawed') move.run('READY', null, at, jobId, programmer);
    else if (type === 'AllotmentClosed') move.run('CLOSED', null, at, jobId, programmer);
    else if (type === 'LedgerSegmentAccepted') ledger.run(Number(data.to), at, jobId, programmer);
    else if (type === 'UnitReserved' || type === 'UnitCommitted' || type === 'UnitVoided') count[type].run(at, jobId, programmer);
    if (type === 'UnitVoided' && data.scrapped === true) scrap.run(jobId, programmer);
  };
}

export const jobQueries = (db: Kysely<JobTables>) => ({
  page: ({
    status,
    after,
    limit,
  }: {
    readonly status?: string | undefined;
    readonly after?: string | undefined;
    readonly limit: number;
  }) => {
    let query = db.selectFrom('jobs').selectAll().orderBy('job_id').limit(limit);
    if (status !== undefined) query = query.where('status', '=', status);
    if (after !== undefined) query = query.where('job_id', '>', after);
    return query.execute();
  },
  byId: (jobId: string) => db.selectFrom('jobs').selectAll().where('job_id', '=', jobId).executeTakeFirst(),
  allotments: (jobId: string) => db.selectFrom('allotments').selectAll().where('job_id', '=', jobId).orderBy('programmer').execute(),
  allotmentsOf: (programmer: string) => db.selectFrom('allotments').selectAll().where('programmer', '=', programmer).execute(),
  /** Units in the order they were reserved, per programmer. */
  units: (jobId: string) =>
    db.selectFrom('units').selectAll().where('job_id', '=', jobId).orderBy('programmer').orderBy('number').execute(),
  /** Units that ended in the allotment while the device has not heard of it: a crash came between. */
  unsettled: (before: string, limit: number) =>
    db.selectFrom('units').selectAll().where('device_open', '=', 1).where('finished_at', '<=', before).limit(limit).execute(),
  unit: (grantId: string) => db.selectFrom('units').selectAll().where('grant_id', '=', grantId).executeTakeFirst(),
  /** Reservations that are neither committed nor voided though their time is over. */
  expired: (now: string, limit: number) =>
    db
      .selectFrom('units')
      .selectAll()
      .where('finished_at', 'is', null)
      .where('waits_until', '<=', now)
      .orderBy('waits_until')
      .limit(limit)
      .execute(),
});
