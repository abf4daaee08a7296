import { type Kysely, sql } from 'kysely';
import { utf8 } from '../bytes.ts';
import { counted } from '../counted.ts';
import { sha256Hex } from '../digest.ts';
import type { EventMap, EventType } from '../domain/events.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import { on, type Projection } from './projection.ts';

/** What an operator must look at, newest last: alarms raised by the process, and the events that are alarms in themselves. */

type AlarmRow = { position: number; at: string; code: string; subject: string; detail: string };
/** Alarms of one code about one subject. `raised` counts them since the case was opened last. */
export type AlarmCaseRow = {
  id: string;
  code: string;
  subject: string;
  detail: string;
  raised: number;
  first_at: string;
  last_at: string;
  last_position: number;
  acknowledged_position: number;
  acknowledged_by: string | null;
  acknowledged_at: string | null;
  note: string | null;
  assigned_to: string | null;
  silenced_until: string | null;
  silenced_by: string | null;
  silenced_reason: string | null;
};
export type AlarmTables = { alarms: AlarmRow; alarm_cases: AlarmCaseRow };

/** 32 hex digits. */
export const alarmCaseId = (code: string, subject: string): string => sha256Hex(utf8(`${code}\n${subject}`)).slice(0, 32);

export const isOpenCase = ({ last_position, acknowledged_position }: AlarmCaseRow): boolean => last_position > acknowledged_position;

/** Events of other streams that belong on the list, and what each says to an operator. */
const details: { readonly [Type in EventType]?: (data: EventMap[Type]) => string | undefined } = {
  CloneSuspected: ({ evidence }) => evidence,
  RollbackRefused: ({ version, securityCounter, hop }) => `${version}, counter ${securityCounter}, is a step back: refused by the ${hop}`,
  RolloutHalted: ({ reason }) => reason,
  LedgerGapDetected: ({ acceptedNumber, quotedNumber }) => `the ledger was accepted up to ${acceptedNumber}, ${quotedNumber} was quoted`,
  JobDiscrepancyFound: ({ kind, detail }) => `${kind}: ${detail}`,
  ProgrammerReportedStolen: ({ note }) => note ?? '',
  EventParkingProposed: ({ follower, position, reason, by }) => `${by}: ${follower} is to go on without event ${position}: ${reason}`,
  VulnerabilityReachedDevices: ({ devices }) => `an affected release runs on ${counted(devices, 'device')}`,
  VulnerabilityReopened: ({ devices }) => (devices > 0 ? `an affected release runs on ${counted(devices, 'device')} again` : undefined),
  VulnerabilityReportDue: ({ step, dueAt }) => `${step} is due at ${dueAt}`,
  VulnerabilityReportMissed: ({ step, dueAt }) => `${step} was due at ${dueAt}`,
  EventParked: ({ follower, position, reason, by }) => `${by}: ${follower} skips event ${position}: ${reason}`,
};

/** Opens the case of that code again. */
const codes: { readonly [Type in EventType]?: EventType } = { VulnerabilityReopened: 'VulnerabilityReachedDevices' };

function detailOf({ type, data }: Recorded): string | undefined {
  const detail = Object.hasOwn(details, type) ? (details[type] as (data: unknown) => string | undefined) : undefined;
  return detail?.(data);
}

export const alarms: Projection = {
  name: 'alarms',
  version: 8,
  namesPeople: true,
  tables: ['alarms', 'alarm_cases'],
  schema: table => `
    CREATE TABLE ${table('alarms')} (
      position INTEGER PRIMARY KEY, at TEXT NOT NULL, code TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX ${table('alarms')}_subject ON ${table('alarms')} (subject, position);
    CREATE TABLE ${table('alarm_cases')} (
      id TEXT PRIMARY KEY, code TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL, raised INTEGER NOT NULL, first_at TEXT NOT NULL,
      last_at TEXT NOT NULL, last_position INTEGER NOT NULL, acknowledged_position INTEGER NOT NULL, acknowledged_by TEXT, acknowledged_at TEXT,
      note TEXT, assigned_to TEXT, silenced_until TEXT, silenced_by TEXT, silenced_reason TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('alarm_cases')}_last ON ${table('alarm_cases')} (last_position);
    CREATE INDEX ${table('alarm_cases')}_open ON ${table('alarm_cases')} (last_position) WHERE last_position > acknowledged_position;`,
  writer(db, table) {
    const insert = db.prepare(`INSERT INTO ${table('alarms')} VALUES (?, ?, ?, ?, ?)`);
    const cases = table('alarm_cases');
    const isClosed = 'last_position <= acknowledged_position';
    const open =
      db.prepare(`INSERT INTO ${cases} (id, code, subject, detail, raised, first_at, last_at, last_position, acknowledged_position)
      VALUES (@id, @code, @subject, @detail, 1, @at, @at, @position, 0)
      ON CONFLICT (id) DO UPDATE SET detail = @detail, raised = iif(${isClosed}, 1, raised + 1), first_at = iif(${isClosed}, @at, first_at),
        last_at = @at, last_position = @position`);
    const acknowledge = db.prepare(
      `UPDATE ${cases} SET acknowledged_position = ?, acknowledged_by = ?, acknowledged_at = ?, note = ? WHERE id = ?`,
    );
    const assign = db.prepare(`UPDATE ${cases} SET assigned_to = ? WHERE id = ?`);
    const silence = db.prepare(`UPDATE ${cases} SET silenced_until = ?, silenced_by = ?, silenced_reason = ? WHERE id = ?`);
    const deed = on({
      AlarmAcknowledged: ({ data: { code, subject, upTo, by, at, note } }) =>
        acknowledge.run(upTo, by, at, note, alarmCaseId(code, subject)),
      AlarmAssigned: ({ data: { code, subject, to } }) => assign.run(to, alarmCaseId(code, subject)),
      AlarmSilenced: ({ data: { code, subject, until, by, reason } }) => silence.run(until, by, reason, alarmCaseId(code, subject)),
    });
    const seenBefore = `SELECT subject FROM ${table('alarms')} WHERE subject LIKE 'address-%' AND at < ?`;
    const forgetCases = db.prepare(`DELETE FROM ${cases} WHERE subject IN (${seenBefore})`);
    const forget = db.prepare(
      `UPDATE ${table('alarms')} SET subject = 'address-erased', detail = 'erased' WHERE subject IN (${seenBefore})`,
    );
    const forgetAddresses = (before: string): void => {
      forgetCases.run(before);
      forget.run(before);
    };
    const raise = (position: number, at: string, code: string, subject: string, detail: string): void => {
      insert.run(position, at, code, subject, detail);
      open.run({ id: alarmCaseId(code, subject), code, subject, detail, at, position });
    };
    return event => {
      const { type, data, stream, position, at } = event;
      if (type === 'AlarmRaised') return raise(position, at, data.code, data.subject, data.detail);
      if (type === 'AddressesForgotten') return forgetAddresses(data.before);
      const detail = detailOf(event);
      if (detail === undefined) return deed(event);
      raise(position, at, codes[type] ?? type, stream, detail);
    };
  },
};

export const alarmStates = ['open', 'acknowledged', 'silenced'] as const;
export type AlarmCasePage = {
  readonly state?: (typeof alarmStates)[number] | undefined;
  readonly code?: string | undefined;
  readonly subject?: string | undefined;
  readonly assignedTo?: string | undefined;
  /** Older than this position. */
  readonly before?: number | undefined;
  readonly limit: number;
  /** ISO time. */
  readonly now: string;
};

export const alarmQueries = (db: Kysely<AlarmTables>) => ({
  page: ({ after, limit, subject }: { readonly after: number; readonly limit: number; readonly subject?: string | undefined }) => {
    const query = db.selectFrom('alarms').selectAll().where('position', '>', after).orderBy('position').limit(limit);
    return (subject === undefined ? query : query.where('subject', '=', subject)).execute();
  },
  case: (id: string) => db.selectFrom('alarm_cases').selectAll().where('id', '=', id).executeTakeFirst(),
  /** Newest first. A case that is silent counts as silenced, not as open. */
  cases({ state, code, subject, assignedTo, before, limit, now }: AlarmCasePage) {
    let query = db.selectFrom('alarm_cases').selectAll().orderBy('last_position', 'desc').limit(limit);
    const isSilent = sql<boolean>`coalesce(silenced_until, '') > ${now}`;
    if (state === 'acknowledged') query = query.where(sql<boolean>`last_position <= acknowledged_position`);
    if (state === 'open') query = query.where(sql<boolean>`last_position > acknowledged_position AND NOT ${isSilent}`);
    if (state === 'silenced') query = query.where(sql<boolean>`last_position > acknowledged_position AND ${isSilent}`);
    if (code !== undefined) query = query.where('code', '=', code);
    if (subject !== undefined) query = query.where('subject', '=', subject);
    if (assignedTo !== undefined) query = query.where('assigned_to', '=', assignedTo);
    if (before !== undefined) query = query.where('last_position', '<', before);
    return query.execute();
  },
});
