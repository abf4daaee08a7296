import type { Kysely } from 'kysely';
import type { Projection } from './projection.ts';

/** Programmers and where they are. */

export type ProgrammerRow = {
  uid: string;
  name: string;
  status: string;
  firmware_version: string | null;
  kek_epoch: number;
  shipped_to: string | null;
  changed_at: string;
};
export type ProgrammerTables = { programmers: ProgrammerRow };

/** Status after an event; KekAgreed is apart, as it only makes a locked or returned programmer ready. */
const statuses: Readonly<Record<string, string>> = {
  KeyEnrolled: 'ENROLLED',
  ProgrammerCertified: 'CERTIFIED',
  ProgrammerBootKeyBurned: 'FUSED',
  ProgrammerLocked: 'LOCKED',
  ProgrammerShipped: 'SHIPPED',
  ProgrammerCheckedIn: 'ACTIVE',
  ProgrammerResumed: 'ACTIVE',
  ProgrammerSuspended: 'SUSPENDED',
  ProgrammerReportedStolen: 'STOLEN',
  ProgrammerRevoked: 'REVOKED',
  ProgrammerReturned: 'RETURNED',
  ProgrammerRetired: 'RETIRED',
};

export const programmers: Projection = {
  name: 'programmers',
  version: 1,
  tables: ['programmers'],
  schema: table => `
    CREATE TABLE ${table('programmers')} (
      uid TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, firmware_version TEXT, kek_epoch INTEGER NOT NULL, shipped_to TEXT,
      changed_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;`,
  writer(db, table) {
    const name = table('programmers');
    const register = db.prepare(`INSERT OR REPLACE INTO ${name} VALUES (?, ?, 'BLANK', NULL, 0, NULL, ?)`);
    const move = db.prepare(`UPDATE ${name} SET status = ?, changed_at = ? WHERE uid = ?`);
    const agree = db.prepare(
      `UPDATE ${name} SET kek_epoch = ?, changed_at = ?, status = CASE WHEN status IN ('LOCKED', 'RETURNED') THEN 'READY' ELSE status END WHERE uid = ?`,
    );
    const install = db.prepare(`UPDATE ${name} SET firmware_version = ?, changed_at = ? WHERE uid = ?`);
    const ship = db.prepare(`UPDATE ${name} SET shipped_to = ? WHERE uid = ?`);
    return event => {
      const uid = event.stream.slice('programmer-'.length);
      const status = statuses[event.type];
      if (event.type === 'ProgrammerRegistered') register.run(String(event.data.uid), String(event.data.model), event.at);
      else if (event.type === 'KekAgreed') agree.run(Number(event.data.epoch), event.at, uid);
      else if (event.type === 'ProgrammerFirmwareInstalled') install.run(String(event.data.version), event.at, uid);
      else if (status !== undefined) move.run(status, event.at, uid);
      if (event.type === 'ProgrammerShipped') ship.run(String(event.data.to), uid);
    };
  },
};

export const programmerQueries = (db: Kysely<ProgrammerTables>) => ({
  page: ({ after, limit }: { readonly after?: string | undefined; readonly limit: number }) => {
    const query = db.selectFrom('programmers').selectAll().orderBy('uid').limit(limit);
    return (after === undefined ? query : query.where('uid', '>', after)).execute();
  },
});
