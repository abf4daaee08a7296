import type { Kysely } from 'kysely';
import { type ReleaseStatus, releaseWalk } from '../domain/release.ts';
import { linesWithin, type Scope } from '../domain/roles.ts';
import { on, type Projection } from './projection.ts';
import { statusColumn } from './statusColumn.ts';

/** Product lines and firmware releases, as lists. */

export type ReleaseRow = {
  release_id: string;
  line: string;
  image: 'bl2' | 'app';
  version: string;
  security_counter: number;
  image_hash: string;
  body_bytes: number;
  status: ReleaseStatus;
  uploaded_by: string;
  uploaded_at: string;
};
export type ReleaseTables = { product_lines: { line: string; defined_at: string }; releases: ReleaseRow };

export const releases: Projection = {
  name: 'releases',
  version: 1,
  namesPeople: true,
  tables: ['product_lines', 'releases'],
  schema: table => `
    CREATE TABLE ${table('product_lines')} (line TEXT PRIMARY KEY, defined_at TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ${table('releases')} (
      release_id TEXT PRIMARY KEY, line TEXT NOT NULL, image TEXT NOT NULL, version TEXT NOT NULL, security_counter INTEGER NOT NULL,
      image_hash TEXT NOT NULL, body_bytes INTEGER NOT NULL, status TEXT NOT NULL, uploaded_by TEXT NOT NULL, uploaded_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('releases')}_line ON ${table('releases')} (line);
    CREATE INDEX ${table('releases')}_image_hash ON ${table('releases')} (image_hash);`,
  writer(db, table) {
    const define = db.prepare(`INSERT INTO ${table('product_lines')} VALUES (?, ?) ON CONFLICT DO NOTHING`);
    const insert = db.prepare(`INSERT INTO ${table('releases')} VALUES (?, ?, ?, ?, ?, ?, ?, 'UPLOADED', ?, ?) ON CONFLICT DO NOTHING`);
    const keepStatus = statusColumn(db, table('releases'), 'release_id', releaseWalk);
    const keepFacts = on({
      LineDefined: ({ data, at }) => define.run(data.line, at),
      FirmwareUploaded: ({ data, at }) => {
        const { releaseId, line, image, version, securityCounter, imageHash, size, uploadedBy } = data;
        insert.run(releaseId, line, image, version, securityCounter, imageHash, size, uploadedBy, at);
      },
    });
    return event => {
      keepFacts(event);
      keepStatus(event);
    };
  },
};

export type ReleasePage = {
  readonly line?: string | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
  readonly scope?: Scope | undefined;
};

export const releaseQueries = (db: Kysely<ReleaseTables>) => ({
  lines: async () => (await db.selectFrom('product_lines').select('line').orderBy('line').execute()).map(row => row.line),
  page: ({ line, after, limit, scope }: ReleasePage) => {
    const lines = linesWithin(scope ?? {});
    let query = db.selectFrom('releases').selectAll().orderBy('release_id').limit(limit);
    if (line !== undefined) query = query.where('line', '=', line);
    if (lines !== undefined) query = query.where('line', 'in', lines);
    if (after !== undefined) query = query.where('release_id', '>', after);
    return query.execute();
  },
  byIds: (releaseIds: readonly string[]) =>
    db.selectFrom('releases').selectAll().where('release_id', 'in', releaseIds).orderBy('release_id').execute(),
  ofLines: (lines: readonly string[]) => db.selectFrom('releases').selectAll().where('line', 'in', lines).execute(),
  /** The release that has taken this version; a withdrawn one keeps it. */
  byVersion: (line: string, image: ReleaseRow['image'], version: string) =>
    db
      .selectFrom('releases')
      .select('release_id')
      .where('line', '=', line)
      .where('image', '=', image)
      .where('version', '=', version)
      .executeTakeFirst(),
  /** Of the releases that are not withdrawn, or of those in the named state; 0 when there is none. */
  async highestCounter(line: string, image: ReleaseRow['image'], status?: ReleaseRow['status']): Promise<number> {
    const found = db
      .selectFrom('releases')
      .select(({ fn }) => fn.max('security_counter').as('highest'))
      .where('line', '=', line)
      .where('image', '=', image)
      .where('status', status === undefined ? '!=' : '=', status ?? 'WITHDRAWN');
    return (await found.executeTakeFirst())?.highest ?? 0;
  },
  withdrawn: () => db.selectFrom('releases').select(['release_id', 'version', 'line']).where('status', '=', 'WITHDRAWN').execute(),
  /** The release whose image, plain, has this hash. */
  byImageHash: (imageHash: string) => db.selectFrom('releases').selectAll().where('image_hash', '=', imageHash).executeTakeFirst(),
});
