import type { Kysely } from 'kysely';
import { timedOut } from '../domain/deviceState.ts';
import { on, type Projection, subjectOf } from './projection.ts';

/** Decommissions on their way: ordered, and not yet ended with the destruction of the keys, or without a receipt (R96, RULE-17). */

type DecommissionRow = { uid: string; order_sha256: string; ordered_at: string };
export type DecommissionTables = { decommissions: DecommissionRow };

export const decommissions: Projection = {
  name: 'decommissions',
  version: 2,
  tables: ['decommissions'],
  schema: table => `
    CREATE TABLE ${table('decommissions')} (uid TEXT PRIMARY KEY, order_sha256 TEXT NOT NULL, ordered_at TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('decommissions')}_ordered_at ON ${table('decommissions')} (ordered_at);`,
  writer(db, table) {
    const insert = db.prepare(`INSERT INTO ${table('decommissions')} VALUES (?, ?, ?) ON CONFLICT DO NOTHING`);
    const remove = db.prepare(`DELETE FROM ${table('decommissions')} WHERE uid = ?`);
    return on({
      DeviceDecommissionOrdered: ({ stream, at, data }) => insert.run(subjectOf(stream), data.orderSha256, at),
      DeviceDecommissioned: ({ stream, data }) => data.withoutReceipt === timedOut && remove.run(subjectOf(stream)),
      KeyCustodyDestroyed: ({ stream }) => remove.run(subjectOf(stream)),
    });
  },
};

export const decommissionQueries = (db: Kysely<DecommissionTables>) => ({
  /** Ordered before this time, oldest first. */
  orderedBefore: (time: string, limit: number) =>
    db.selectFrom('decommissions').selectAll().where('ordered_at', '<=', time).orderBy('ordered_at').limit(limit).execute(),
});
