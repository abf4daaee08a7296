import type { Kysely } from 'kysely';
import type { EventMap, EventType } from '../domain/events.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import type { Projection } from './projection.ts';

/** What an operator must look at, newest last: alarms raised by the process, and the events that are alarms in themselves. */

type AlarmRow = { position: number; at: string; code: string; subject: string; detail: string };
export type AlarmTables = { alarms: AlarmRow };

/** Events of other streams that belong on the list, and what each says to an operator. */
const details: { readonly [Type in EventType]?: (data: EventMap[Type]) => string } = {
  CloneSuspected: ({ evidence }) => evidence,
  RollbackRefused: ({ hop }) => hop,
  RolloutHalted: ({ reason }) => reason,
  LedgerGapDetected: ({ acceptedNumber, quotedNumber }) => `the ledger was accepted up to ${acceptedNumber}, ${quotedNumber} was quoted`,
  JobDiscrepancyFound: ({ kind, detail }) => `${kind}: ${detail}`,
  ProgrammerReportedStolen: ({ note }) => note ?? '',
  EventParkingProposed: ({ follower, position, reason, by }) => `${by}: ${follower} is to go on without event ${position}: ${reason}`,
  VulnerabilityReachedDevices: ({ devices }) => `${devices} devices run an affected release`,
  VulnerabilityReportDue: ({ step, dueAt }) => `${step} is due at ${dueAt}`,
  VulnerabilityReportMissed: ({ step, dueAt }) => `${step} was due at ${dueAt}`,
  EventParked: ({ follower, position, reason, by }) => `${by}: ${follower} skips event ${position}: ${reason}`,
};

function detailOf({ type, data }: Recorded): string | undefined {
  const detail = Object.hasOwn(details, type) ? (details[type] as (data: unknown) => string) : undefined;
  return detail?.(data);
}

export const alarms: Projection = {
  name: 'alarms',
  version: 3,
  tables: ['alarms'],
  schema: table => `
    CREATE TABLE ${table('alarms')} (
      position INTEGER PRIMARY KEY, at TEXT NOT NULL, code TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX ${table('alarms')}_subject ON ${table('alarms')} (subject, position);`,
  writer(db, table) {
    const insert = db.prepare(`INSERT INTO ${table('alarms')} VALUES (?, ?, ?, ?, ?)`);
    return event => {
      const { type, data, stream, position, at } = event;
      if (type === 'AlarmRaised') return void insert.run(position, at, data.code, data.subject, data.detail);
      const detail = detailOf(event);
      if (detail !== undefined) insert.run(position, at, type, stream, detail);
    };
  },
};

export const alarmQueries = (db: Kysely<AlarmTables>) => ({
  page: ({ after, limit, subject }: { readonly after: number; readonly limit: number; readonly subject?: string | undefined }) => {
    const query = db.selectFrom('alarms').selectAll().where('position', '>', after).orderBy('position').limit(limit);
    return (subject === undefined ? query : query.where('subject', '=', subject)).execute();
  },
});
