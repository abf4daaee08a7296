import type { Kysely } from 'kysely';
import { type ProgrammerStatus, programmerWalk } from '../domain/programmer.ts';
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

export const programmerQueries = (db: Kysely<ProgrammerTables>) => ({
  page: ({ after, limit }: { readonly after?: string | undefined; readonly limit: number }) => {
    const query = db.selectFrom('programmers').selectAll().orderBy('uid').limit(limit);
    return (after === undefined ? query : query.where('uid', '>', after)).execute();
  },
});
