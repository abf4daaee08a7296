import type { Kysely } from 'kysely';
import type { Component } from '../domain/component.ts';
import { on, type Projection, subjectOf } from './projection.ts';

/** Components of releases, as their newest bill of materials names them. */

export type ComponentRow = {
  release_id: string;
  number: number;
  name_key: string;
  name: string;
  version: string | null;
  purl: string | null;
};
type SbomRow = { release_id: string; sha256: string };
export type ComponentTables = { components: ComponentRow; sboms: SbomRow };

/** By which a name is looked for. */
const keyOf = (name: string): string => name.toLowerCase();

export const components: Projection = {
  name: 'components',
  version: 1,
  tables: ['components', 'sboms'],
  schema: table => `
    CREATE TABLE ${table('components')} (
      release_id TEXT NOT NULL, number INTEGER NOT NULL, name_key TEXT NOT NULL, name TEXT NOT NULL, version TEXT, purl TEXT,
      PRIMARY KEY (release_id, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('components')}_name ON ${table('components')} (name_key, release_id);
    CREATE TABLE ${table('sboms')} (release_id TEXT PRIMARY KEY, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID;`,
  writer(db, table) {
    const name = table('components');
    const attach = db.prepare(`INSERT INTO ${table('sboms')} VALUES (?, ?) ON CONFLICT DO UPDATE SET sha256 = excluded.sha256`);
    const clear = db.prepare(`DELETE FROM ${name} WHERE release_id = ?`);
    const count = db.prepare<{ next: number }>(`SELECT coalesce(max(number), -1) + 1 AS next FROM ${name} WHERE release_id = ?`);
    const insert = db.prepare(`INSERT INTO ${name} VALUES (?, ?, ?, ?, ?, ?)`);
    const list = (releaseId: string, listed: readonly Component[]): void => {
      const first = count.get(releaseId)?.next ?? 0;
      listed.forEach((one, i) => {
        insert.run(releaseId, first + i, keyOf(one.name), one.name, one.version ?? null, one.purl ?? null);
      });
    };
    return on({
      SbomAttached({ stream, data }) {
        attach.run(subjectOf(stream), data.sha256);
        clear.run(subjectOf(stream));
      },
      SbomComponentsListed: ({ stream, data }) => list(subjectOf(stream), data.components),
    });
  },
};

export const componentQueries = (db: Kysely<ComponentTables>) => ({
  /** Every release's components of these names. */
  named: (names: readonly string[]) =>
    db
      .selectFrom('components')
      .selectAll()
      .where('name_key', 'in', [...new Set(names.map(keyOf))])
      .orderBy('release_id')
      .orderBy('number')
      .execute(),
  /** Releases that have a bill of materials. */
  releases: async () => new Set((await db.selectFrom('sboms').select('release_id').execute()).map(row => row.release_id)),
});
