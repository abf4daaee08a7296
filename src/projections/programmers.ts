import type { Kysely } from 'kysely';
import { type ProgrammerStatus, programmerWalk } from '../domain/programmer.ts';
import type { Scope } from '../domain/roles.ts';
import { type JobTables, jobsInScope } from './jobs.ts';
import { on, type Projection, subjectOf } from './projection.ts';
import { statusColumn } from './statusColumn.ts';

/** Programmers and where they are. */

export type ProgrammerRow = {
  uid: string;
  name: string;
  status: ProgrammerStatus;
  firmware_version: string | null;
  kek_epoch: number;
  shipped_to: string | null;
  /** Of the newest event. */
  changed_at: string;
};
export type ProgrammerTables = { programmers: ProgrammerRow };

export const programmers: Projection = {
  name: 'programmers',
  version: 2,
  namesPeople: true,
  tables: ['programmers'],
  schema: table => `
    CREATE TABLE ${table('programmers')} (
      uid TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, firmware_version TEXT, kek_epoch INTEGER NOT NULL, shipped_to TEXT,
      changed_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;`,
  writer(db, table) {
    const name = table('programmers');
    const register = db.prepare(`INSERT OR REPLACE INTO ${name} VALUES (?, ?, 'BLANK', NULL, 0, NULL, ?)`);
    const touch = db.prepare(`UPDATE ${name} SET changed_at = ? WHERE uid = ?`);
    const agree = db.prepare(`UPDATE ${name} SET kek_epoch = ? WHERE uid = ?`);
    const install = db.prepare(`UPDATE ${name} SET firmware_version = ? WHERE uid = ?`);
    const ship = db.prepare(`UPDATE ${name} SET shipped_to = ? WHERE uid = ?`);
    const keepStatus = statusColumn(db, name, 'uid', programmerWalk);
    const keepFacts = on({
      ProgrammerRegistered: ({ data, at }) => register.run(data.uid, data.model, at),
      KekAgreed: ({ stream, data }) => agree.run(data.epoch, subjectOf(stream)),
      ProgrammerFirmwareInstalled: ({ stream, data }) => install.run(data.version, subjectOf(stream)),
      ProgrammerShipped: ({ stream, data }) => ship.run(data.to, subjectOf(stream)),
    });
    return event => {
      if (!event.stream.startsWith(streamPrefix)) return;
      keepFacts(event);
      keepStatus(event);
      touch.run(event.at, subjectOf(event.stream));
    };
  },
};

const streamPrefix = 'programmer-';

export type ProgrammerPage = { readonly after?: string | undefined; readonly limit: number; readonly scope?: Scope | undefined };

/** A programmer is where it was shipped to; it works for the lines and jobs it has shares of. */
function programmersInScope(db: Kysely<ProgrammerTables & JobTables>, { sites, ...work }: Scope) {
  let query = db.selectFrom('programmers').select('uid');
  if (sites !== undefined) query = query.where('shipped_to', 'in', sites);
  if (work.lines === undefined && work.jobs === undefined) return query;
  return query.where('uid', 'in', db.selectFrom('allotments').select('programmer').where('job_id', 'in', jobsInScope(db, work)));
}

export const programmerQueries = (db: Kysely<ProgrammerTables & JobTables>) => ({
  page: ({ after, limit, scope }: ProgrammerPage) => {
    let query = db.selectFrom('programmers').selectAll().orderBy('uid').limit(limit);
    if (after !== undefined) query = query.where('uid', '>', after);
    if (scope !== undefined) query = query.where('uid', 'in', programmersInScope(db, scope));
    return query.execute();
  },
  /** A programmer that was shipped to a site and is still trusted there. */
  anyAt: (site: string) =>
    db
      .selectFrom('programmers')
      .select('uid')
      .where('shipped_to', '=', site)
      .where('status', 'in', ['SHIPPED', 'ACTIVE', 'SUSPENDED'])
      .executeTakeFirst(),
});
