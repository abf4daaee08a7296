import { type Kysely, sql } from 'kysely';
import type { AllotmentEvent } from '../domain/allotmentEvents.ts';
import { type AllotmentStanding, type AllotmentStatus, allotmentAfter } from '../domain/allotmentState.ts';
import type { JobEvent, JobStatus } from '../domain/jobEvents.ts';
import { jobStatusAfter } from '../domain/jobState.ts';
import type { Scope } from '../domain/roles.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import { on, type Projection, subjectOf, type Write } from './projection.ts';
import { unitWriter } from './units.ts';

/** Job board: production jobs, the share of every programmer, and every unit that was ever reserved (R82, R83). */

export type JobRow = {
  job_id: string;
  line: string;
  planned_count: number;
  scrap_allowance: number;
  status: JobStatus;
  bl2_version: string | null;
  app_version: string | null;
  uid_count: number | null;
  created_by: string;
  created_at: string;
  released_by: string | null;
  verdict: string | null;
  /** 1 once a programmer has a share. */
  is_allotted: number;
  site: string | null;
};

export type AllotmentRow = {
  job_id: string;
  programmer: string;
  quota: number;
  scrap_allowance: number;
  status: AllotmentStatus;
  frozen_reason: string | null;
  /** 1 while the newest package is in the programmer. */
  is_imported: number;
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
  /** `[{name, value}]` of what it got for itself, JSON; null for nothing. */
  unit_data: string | null;
};

export type JobTables = { jobs: JobRow; allotments: AllotmentRow; units: UnitRow };

export const jobs: Projection = {
  name: 'jobs',
  version: 5,
  namesPeople: true,
  tables: ['jobs', 'allotments', 'units'],
  schema: table => `
    CREATE TABLE ${table('jobs')} (
      job_id TEXT PRIMARY KEY, line TEXT NOT NULL, planned_count INTEGER NOT NULL, scrap_allowance INTEGER NOT NULL, status TEXT NOT NULL,
      bl2_version TEXT, app_version TEXT, uid_count INTEGER, created_by TEXT NOT NULL, created_at TEXT NOT NULL, released_by TEXT, verdict TEXT,
      is_allotted INTEGER NOT NULL, site TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ${table('allotments')} (
      job_id TEXT NOT NULL, programmer TEXT NOT NULL, quota INTEGER NOT NULL, scrap_allowance INTEGER NOT NULL, status TEXT NOT NULL,
      frozen_reason TEXT, is_imported INTEGER NOT NULL, sequence INTEGER NOT NULL, reserved INTEGER NOT NULL, committed INTEGER NOT NULL, voided INTEGER NOT NULL,
      scrapped INTEGER NOT NULL, ledger_number INTEGER NOT NULL, changed_at TEXT NOT NULL, PRIMARY KEY (job_id, programmer)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('allotments')}_programmer ON ${table('allotments')} (programmer);
    CREATE TABLE ${table('units')} (
      grant_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, programmer TEXT NOT NULL, uid TEXT NOT NULL, obj_id TEXT NOT NULL, number INTEGER NOT NULL,
      status TEXT NOT NULL, reason TEXT, version TEXT, image_hash TEXT, serial TEXT, expires_at TEXT NOT NULL, reserved_at TEXT NOT NULL,
      certified_at TEXT, locked_at TEXT, finished_at TEXT, seen_in_field INTEGER NOT NULL, device_open INTEGER NOT NULL,
      waits_until TEXT NOT NULL, unit_data TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('units')}_job ON ${table('units')} (job_id, programmer, number);
    CREATE INDEX ${table('units')}_uid ON ${table('units')} (uid);
    CREATE INDEX ${table('units')}_device_open ON ${table('units')} (finished_at) WHERE device_open = 1;
    CREATE INDEX ${table('units')}_open ON ${table('units')} (waits_until) WHERE finished_at IS NULL;`,
  writer(db, table) {
    const writers = [jobWriter(db, table('jobs')), allotmentWriter(db, table('allotments')), unitWriter(db, table('units'))];
    return event => {
      for (const write of writers) write(event);
    };
  },
};

type Db = Parameters<Projection['writer']>[0];

function jobWriter(db: Db, name: string): Write {
  const create = db.prepare(
    `INSERT INTO ${name} VALUES (?, ?, ?, ?, 'DRAFT', NULL, NULL, NULL, ?, ?, NULL, NULL, 0, ?) ON CONFLICT DO NOTHING`,
  );
  const bind = {
    bl2: db.prepare(`UPDATE ${name} SET bl2_version = ? WHERE job_id = ?`),
    app: db.prepare(`UPDATE ${name} SET app_version = ? WHERE job_id = ?`),
  };
  const list = db.prepare(`UPDATE ${name} SET uid_count = ? WHERE job_id = ?`);
  const allot = db.prepare(`UPDATE ${name} SET is_allotted = 1 WHERE job_id = ?`);
  const release = db.prepare(`UPDATE ${name} SET released_by = ? WHERE job_id = ?`);
  const judge = db.prepare(`UPDATE ${name} SET verdict = ? WHERE job_id = ?`);
  const find = db.prepare<JobRow>(`SELECT * FROM ${name} WHERE job_id = ?`);
  const move = db.prepare(`UPDATE ${name} SET status = ? WHERE job_id = ?`);
  const keepFacts = on({
    JobCreated({ stream, at, data }) {
      create.run(subjectOf(stream), data.line, data.plannedCount, data.scrapAllowance, data.createdBy, at, data.site ?? null);
    },
    FirmwareBoundToJob: ({ stream, data }) => bind[data.image].run(data.version, subjectOf(stream)),
    UidListAttached: ({ stream, data }) => list.run(data.count, subjectOf(stream)),
    AllotmentMade: ({ stream }) => allot.run(subjectOf(stream)),
    JobReleased: ({ stream, data }) => release.run(data.by, subjectOf(stream)),
    JobReconciled: ({ stream, data }) => judge.run(data.verdict, subjectOf(stream)),
  });
  return event => {
    if (!event.stream.startsWith('job-')) return;
    keepFacts(event);
    const row = find.get(subjectOf(event.stream));
    if (row === undefined) return;
    const isBound = { bl2: row.bl2_version !== null, app: row.app_version !== null };
    const standing = { status: row.status, isBound, isAllotted: row.is_allotted === 1 };
    move.run(jobStatusAfter(standing, event as Recorded<JobEvent['type']>), row.job_id);
  };
}

function allotmentWriter(db: Db, name: string): Write {
  const key = 'WHERE job_id = ? AND programmer = ?';
  const open = db.prepare(`INSERT INTO ${name} VALUES (?, ?, ?, ?, 'OPEN', NULL, 0, 0, 0, 0, 0, 0, 0, ?) ON CONFLICT DO NOTHING`);
  const raise = db.prepare(`UPDATE ${name} SET quota = ?, scrap_allowance = ? ${key}`);
  const exported = db.prepare(`UPDATE ${name} SET sequence = ? ${key}`);
  const freeze = db.prepare(`UPDATE ${name} SET frozen_reason = ? ${key}`);
  const count = {
    reserved: db.prepare(`UPDATE ${name} SET reserved = reserved + 1 ${key}`),
    committed: db.prepare(`UPDATE ${name} SET committed = committed + 1 ${key}`),
    voided: db.prepare(`UPDATE ${name} SET voided = voided + 1, scrapped = scrapped + ? ${key}`),
  };
  const ledger = db.prepare(`UPDATE ${name} SET ledger_number = ? ${key}`);
  const find = db.prepare<AllotmentRow>(`SELECT * FROM ${name} ${key}`);
  const move = db.prepare(`UPDATE ${name} SET status = ?, is_imported = ?, changed_at = ? ${key}`);
  const keepFacts = on({
    AllotmentOpened: ({ stream, at, data }) => open.run(...idsOf(stream), data.quota, data.scrapAllowance, at),
    AllotmentRaised: ({ stream, data }) => raise.run(data.quota, data.scrapAllowance, ...idsOf(stream)),
    PackageExported: ({ stream, data }) => exported.run(data.sequence, ...idsOf(stream)),
    AllotmentFrozen: ({ stream, data }) => freeze.run(data.reason, ...idsOf(stream)),
    AllotmentThawed: ({ stream }) => freeze.run(null, ...idsOf(stream)),
    AllotmentClosed: ({ stream }) => freeze.run(null, ...idsOf(stream)),
    LedgerSegmentAccepted: ({ stream, data }) => ledger.run(data.to, ...idsOf(stream)),
    UnitReserved: ({ stream }) => count.reserved.run(...idsOf(stream)),
    UnitCommitted: ({ stream }) => count.committed.run(...idsOf(stream)),
    UnitVoided: ({ stream, data }) => count.voided.run(data.scrapped ? 1 : 0, ...idsOf(stream)),
  });
  return event => {
    if (!event.stream.startsWith('allotment-')) return;
    keepFacts(event);
    const row = find.get(...idsOf(event.stream));
    if (row === undefined) return;
    const { status, isImported } = allotmentAfter(standingOf(row), event as Recorded<AllotmentEvent['type']>);
    move.run(status, isImported ? 1 : 0, event.at, row.job_id, row.programmer);
  };
}

function standingOf(row: AllotmentRow): AllotmentStanding {
  const { status, quota, scrap_allowance: scrapAllowance, reserved, committed, voided, scrapped } = row;
  const open = reserved - committed - voided;
  return { status, isImported: row.is_imported === 1, quota, scrapAllowance, open, committed, scrapped };
}

/** `allotment-{job}-{programmer}` */
const idsOf = (stream: string): readonly [string, string] => {
  const [, jobId = '', programmer = ''] = stream.split('-');
  return [jobId, programmer];
};

export type JobPage = {
  readonly status?: string | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
  readonly scope?: Scope | undefined;
};

/** Jobs within a scope, as a query to ask `in`. */
export function jobsInScope(db: Kysely<JobTables>, { lines, jobs: ids, sites }: Scope) {
  let query = db.selectFrom('jobs').select('job_id');
  if (lines !== undefined) query = query.where('line', 'in', lines);
  if (ids !== undefined) query = query.where('job_id', 'in', ids);
  if (sites !== undefined) query = query.where('site', 'in', sites);
  return query;
}

export const jobQueries = (db: Kysely<JobTables>) => ({
  /** By id, after the cursor, within the scope. */
  page: ({ status, after, limit, scope }: JobPage) => {
    let query = db.selectFrom('jobs').selectAll().orderBy('job_id').limit(limit);
    if (status !== undefined) query = query.where('status', '=', status as JobStatus);
    if (after !== undefined) query = query.where('job_id', '>', after);
    if (scope !== undefined) query = query.where('job_id', 'in', jobsInScope(db, scope));
    return query.execute();
  },
  /** A job that is not over, at a site. */
  openAtSite: (site: string) =>
    db
      .selectFrom('jobs')
      .select('job_id')
      .where('site', '=', site)
      .where('status', 'not in', ['CLOSED', 'RECONCILED', 'CANCELLED'])
      .executeTakeFirst(),
  byId: (jobId: string) => db.selectFrom('jobs').selectAll().where('job_id', '=', jobId).executeTakeFirst(),
  allotments: (jobId: string) => db.selectFrom('allotments').selectAll().where('job_id', '=', jobId).orderBy('programmer').execute(),
  allotmentsOf: (programmer: string) => db.selectFrom('allotments').selectAll().where('programmer', '=', programmer).execute(),
  /** What all shares of these jobs add up to. */
  totals: (jobIds: readonly string[]) =>
    db
      .selectFrom('allotments')
      .select(({ fn }) => [
        'job_id',
        fn.sum<number>('reserved').as('reserved'),
        fn.sum<number>('committed').as('committed'),
        fn.sum<number>('voided').as('voided'),
        fn.sum<number>('scrapped').as('scrapped'),
      ])
      .where('job_id', 'in', jobIds)
      .groupBy('job_id')
      .execute(),
  /** Units of a job that ended in each minute from then on. @param since ISO time */
  perMinute: (jobId: string, since: string) =>
    db
      .selectFrom('units')
      .select(({ fn }) => [
        sql<string>`substr(finished_at, 1, 16)`.as('minute'),
        sql<number>`sum(status = 'COMMITTED')`.as('committed'),
        sql<number>`sum(status <> 'COMMITTED')`.as('lost'),
        fn.countAll<number>().as('count'),
      ])
      .where('job_id', '=', jobId)
      .where('finished_at', '>=', since)
      .groupBy('minute')
      .orderBy('minute')
      .execute(),
  /** Units in the order they were reserved, per programmer. */
  units: (jobId: string) =>
    db.selectFrom('units').selectAll().where('job_id', '=', jobId).orderBy('programmer').orderBy('number').execute(),
  /** A page of them. @param after the last one before */
  unitsPage: (jobId: string, limit: number, after?: Pick<UnitRow, 'programmer' | 'number'>) => {
    let query = db.selectFrom('units').selectAll().where('job_id', '=', jobId).orderBy('programmer').orderBy('number').limit(limit);
    if (after !== undefined) {
      const { programmer, number } = after;
      query = query.where(eb =>
        eb.or([eb('programmer', '>', programmer), eb.and([eb('programmer', '=', programmer), eb('number', '>', number)])]),
      );
    }
    return query.execute();
  },
  /** How many units of each programmer ended in which way, and when the first was begun and the last one built. */
  unitSums: (jobId: string) =>
    db
      .selectFrom('units')
      .select(({ fn }) => [
        'programmer',
        'status',
        'reason',
        fn.countAll<number>().as('units'),
        fn.min('reserved_at').as('first_at'),
        fn.max('finished_at').as('last_at'),
      ])
      .where('job_id', '=', jobId)
      .groupBy(['programmer', 'status', 'reason'])
      .execute(),
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
