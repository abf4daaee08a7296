import type Database from 'better-sqlite3';
import { transaction } from '../sqliteFile.ts';
import type { Projection, TableName, Write } from './projection.ts';

/** The builds of the projections in the read-model file. A build has its own tables; the published one is what the queries' names show. */

export type Build = {
  readonly projection: Projection;
  readonly build: number;
  readonly project: Write;
  /** Queries see this build. */
  published: boolean;
  /** Of the last event in the tables, and its hash: by it a file is recognised that belongs to another store. */
  position: number;
  hash: string;
  /** Its position in the file is the shared one of those that move together. */
  isShared: boolean;
  /** Events that people have parked for it: it skips them. */
  readonly parked: Set<number>;
  /** The event it could not project; it goes no further. */
  fault?: { readonly position: number; readonly message: string };
};

type BuildRow = {
  name: string;
  build: number;
  version: number;
  published: number;
  position: number;
  hash: string;
  shared: number;
  tables: string;
};
type Checkpoint = { readonly position: number; readonly hash: string };

export type Builds = {
  /** Continues the newest build of this version or begins one; drops what an older, unfinished one left. */
  open(projection: Projection): Build;
  /** Begins a build from the first event, beside whatever is there. */
  begin(projection: Projection): Build;
  /** Shows this build to the queries and drops the projection's others. */
  publish(build: Build): void;
  /** Stores positions and faults, inside the transaction that wrote the rows. Those that move together share one row.
   *  @param together these builds are the live ones */
  save(builds: readonly Build[], together: boolean): void;
  /** Where the tables are, without those at the beginning. */
  checkpoints(): readonly Checkpoint[];
  /** Drops everything. */
  clear(): void;
  /** Drops projections that are no longer among `names`. */
  keepOnly(names: ReadonlySet<string>): void;
};

const catalogue = `CREATE TABLE IF NOT EXISTS projection_builds (
  name TEXT NOT NULL,
  build INTEGER NOT NULL,
  version INTEGER NOT NULL,
  published INTEGER NOT NULL,
  position INTEGER NOT NULL,
  hash TEXT NOT NULL,
  shared INTEGER NOT NULL,
  fault TEXT,
  tables TEXT NOT NULL,
  PRIMARY KEY (name, build)
) STRICT;
CREATE TABLE IF NOT EXISTS projection_position (id INTEGER PRIMARY KEY CHECK (id = 1), position INTEGER NOT NULL, hash TEXT NOT NULL) STRICT;
INSERT OR IGNORE INTO projection_position VALUES (1, 0, '')`;

/** A file from before positions had hashes cannot be checked: it is built again. */
function dropOldCatalogue(db: Database): void {
  const columns = db.prepare<{ name: string }>('PRAGMA table_info(projection_builds)').all();
  if (columns.length === 0 || columns.some(({ name }) => name === 'hash')) return;
  const objects = db.prepare<{ type: string; name: string }>(
    "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite_%' ORDER BY type DESC",
  );
  transaction(db, () => {
    for (const { type, name } of objects.all()) db.exec(`DROP ${type} ${name}`);
  });
}

export function openBuilds(db: Database): Builds {
  dropOldCatalogue(db);
  db.exec(catalogue);
  const select = `SELECT name, build, version, published, shared, tables, iif(shared, p.position, b.position) AS position, iif(shared, p.hash, b.hash) AS hash
    FROM projection_builds AS b, projection_position AS p`;
  const rowsOf = db.prepare<BuildRow>(`${select} WHERE name = ? ORDER BY build`);
  const allRows = db.prepare<BuildRow>(select);
  const insert = db.prepare(`INSERT INTO projection_builds VALUES (?, ?, ?, 0, 0, '', 0, NULL, ?)`);
  const update = db.prepare('UPDATE projection_builds SET position = ?, hash = ?, shared = 0, fault = ? WHERE name = ? AND build = ?');
  const share = db.prepare('UPDATE projection_builds SET shared = 1, fault = NULL WHERE name = ? AND build = ?');
  const updateShared = db.prepare('UPDATE projection_position SET position = ?, hash = ?');
  const markPublished = db.prepare('UPDATE projection_builds SET published = 1 WHERE name = ? AND build = ?');
  const remove = db.prepare('DELETE FROM projection_builds WHERE name = ? AND build = ?');

  const drop = (row: BuildRow) => {
    for (const table of JSON.parse(row.tables) as string[]) {
      if (row.published) db.exec(`DROP VIEW IF EXISTS ${table}`);
      db.exec(`DROP TABLE IF EXISTS ${tableOf(row.name, row.build)(table)}`);
    }
    remove.run(row.name, row.build);
  };
  const prepare = (projection: Projection, row: Pick<BuildRow, 'build' | 'published' | 'position' | 'hash' | 'shared'>): Build => {
    const { build, position, hash } = row;
    const project = projection.writer(db, tableOf(projection.name, build));
    const published = row.published === 1;
    return { projection, build, project, position, hash, published, isShared: row.shared === 1, parked: new Set() };
  };
  const begin = (projection: Projection): Build => {
    const build = Math.max(0, ...rowsOf.all(projection.name).map(row => row.build)) + 1;
    transaction(db, () => {
      db.exec(projection.schema(tableOf(projection.name, build)));
      insert.run(projection.name, build, projection.version, JSON.stringify(projection.tables));
    });
    return prepare(projection, { build, published: 0, position: 0, hash: '', shared: 0 });
  };
  const publish = (build: Build) => {
    const { name, tables } = build.projection;
    transaction(db, () => {
      for (const row of rowsOf.all(name)) if (row.build !== build.build) drop(row);
      for (const table of tables) db.exec(`CREATE VIEW ${table} AS SELECT * FROM ${tableOf(name, build.build)(table)}`);
      markPublished.run(name, build.build);
    });
    build.published = true;
    // What was dropped leaves the file now, as far as nobody reads.
    db.pragma('wal_checkpoint(TRUNCATE)');
  };

  return {
    begin,
    publish,
    open(projection) {
      const rows = rowsOf.all(projection.name);
      const current = rows.filter(row => row.version === projection.version).at(-1);
      const stale = rows.filter(row => row !== current && !row.published);
      transaction(db, () => stale.forEach(drop));
      const build = current ? prepare(projection, current) : begin(projection);
      // Without an older build to show, the queries see the first one grow.
      if (!build.published && !rows.some(row => row.published)) publish(build);
      return build;
    },
    save(own, together) {
      const furthest = own.reduce<Build | undefined>((best, build) => (best && best.position >= build.position ? best : build), undefined);
      for (const build of own) {
        const { projection, position, hash, fault } = build;
        const isShared = together && fault === undefined && position === furthest?.position;
        if (isShared && !build.isShared) share.run(projection.name, build.build);
        if (!isShared) update.run(position, hash, fault?.message ?? null, projection.name, build.build);
        build.isShared = isShared;
      }
      if (together && furthest !== undefined) updateShared.run(furthest.position, furthest.hash);
    },
    checkpoints: () => allRows.all().filter(({ position }) => position > 0),
    clear: () => transaction(db, () => allRows.all().forEach(drop)),
    keepOnly: names =>
      transaction(db, () =>
        allRows
          .all()
          .filter(row => !names.has(row.name))
          .forEach(drop),
      ),
  };
}

const tableOf =
  (projection: string, build: number): TableName =>
  name =>
    `${name}__${projection}_${build}`;

/** @throws TypeError when the name of a projection or table is not safe in SQL */
export function requireNames({ name, tables }: Projection): void {
  for (const word of [name, ...tables])
    if (!/^[a-z][a-z0-9_]*$/.test(word)) throw new TypeError(`not a name of a projection or table: ${word}`);
}
