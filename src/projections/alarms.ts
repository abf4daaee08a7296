import type { Kysely } from 'kysely';
import type { Projection } from './projection.ts';

/** What an operator must look at, newest last: alarms raised by the process, and the events that are alarms in themselves. */

type AlarmRow = { position: number; at: string; code: string; subject: string; detail: string };
export type AlarmTables = { alarms: AlarmRow };

/** Events of other streams that belong on the list, and the field that says why. */
const alarming: Readonly<Record<string, string>> = {
  CloneSuspected: 'evidence',
  RollbackRefused: 'hop',
  RolloutHalted: 'reason',
  LedgerGapDetected: 'reason',
  JobDiscrepancyFound: 'reason',
  ProgrammerReportedStolen: 'reason',
};

export const alarms: Projection = {
  name: 'alarms',
  version: 1,
  tables: ['alarms'],
  schema: table => `
    CREATE TABLE ${table('alarms')} (
      position INTEGER PRIMARY KEY, at TEXT NOT NULL, code TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX ${table('alarms')}_subject ON ${table('alarms')} (subject, position);`,
  writer(db, table) {
    const insert = db.prepare(`INSERT INTO ${table('alarms')} VALUES (?, ?, ?, ?, ?)`);
    return ({ type, data, stream, position, at }) => {
      const field = alarming[type];
      if (type === 'AlarmRaised') insert.run(position, at, String(data.code), String(data.subject), String(data.detail));
      else if (field !== undefined) insert.run(position, at, type, stream, String(data[field] ?? ''));
    };
  },
};

export const alarmQueries = (db: Kysely<AlarmTables>) => ({
  page: ({ after, limit, subject }: { readonly after: number; readonly limit: number; readonly subject?: string | undefined }) => {
    const query = db.selectFrom('alarms').selectAll().where('position', '>', after).orderBy('position').limit(limit);
    return (subject === undefined ? query : query.where('subject', '=', subject)).execute();
  },
});
