import type { Kysely } from 'kysely';
import { on, type Projection, subjectOf } from './projection.ts';

/** Cases about vulnerabilities, as a list. */

export type VulnerabilityRow = { id: string; status: 'OPEN' | 'CLOSED'; title: string; opened_at: string; changed_at: string };
export type VulnerabilityTables = { vulnerabilities: VulnerabilityRow };

export const vulnerabilities: Projection = {
  name: 'vulnerabilities',
  version: 1,
  tables: ['vulnerabilities'],
  schema: table => `
    CREATE TABLE ${table('vulnerabilities')} (
      id TEXT PRIMARY KEY, status TEXT NOT NULL, title TEXT NOT NULL, opened_at TEXT NOT NULL, changed_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;`,
  writer(db, table) {
    const name = table('vulnerabilities');
    const insert = db.prepare(`INSERT INTO ${name} VALUES (?, 'OPEN', ?, ?, ?) ON CONFLICT DO NOTHING`);
    const move = db.prepare(`UPDATE ${name} SET status = ?, changed_at = ? WHERE id = ?`);
    const retitle = db.prepare(`UPDATE ${name} SET title = ?, changed_at = ? WHERE id = ?`);
    return on({
      VulnerabilityOpened: ({ at, data }) => insert.run(data.id, data.title, at, at),
      VulnerabilityNoteReplaced: ({ stream, at, data }) => retitle.run(data.title, at, subjectOf(stream)),
      VulnerabilityClosed: ({ stream, at }) => move.run('CLOSED', at, subjectOf(stream)),
      VulnerabilityReopened: ({ stream, at }) => move.run('OPEN', at, subjectOf(stream)),
    });
  },
};

export type VulnerabilityPage = {
  readonly after?: string | undefined;
  readonly status?: VulnerabilityRow['status'] | undefined;
  readonly limit: number;
};

export const vulnerabilityQueries = (db: Kysely<VulnerabilityTables>) => ({
  page: ({ after, status, limit }: VulnerabilityPage) => {
    let query = db.selectFrom('vulnerabilities').selectAll().orderBy('id').limit(limit);
    if (after !== undefined) query = query.where('id', '>', after);
    if (status !== undefined) query = query.where('status', '=', status);
    return query.execute();
  },
});
