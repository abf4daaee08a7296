/** The builds of the projections in the read-model file. A build has its own tables; the published one is what the queries' names show. */
import type Database from 'better-sqlite3';
import type { Projection, TableName, Write } from './projection.ts';

export type Build = {
  readonly projection: Projection;
  readonly build: number;
  readonly project: Write;
  /** Queries see this build. */
  published: boolean;
  /** Of the last event in the tables. */
  position: number;
  /** The event it could not project; it goes no further. */
  fault?: { readonly position: number; readonly message: string };
};

type BuildRow = { name: string; build: number; version: number; published: number; position: number; tables: string };

export type Builds = {
  /** Continues the newest build of this version or begins one; drops what an older, unfinished one left. */
  open(projection: Projection): Build;
  /** Begins a build from the first event, beside whatever is there. */
  begin(projection: Projection): Build;
  /** Shows this build to the queries and drops the projection's others. */
  publish(build: Build): void;
  /** Stores position and fault; inside the transaction that wrote the rows. */
  save(build: Build): void;
  /** Drops projections that are no longer among `names`. */
  keepOnly(names: ReadonlySet<string>): void;
};

const catalogue = `CREATE TABLE IF NOT EXISTS projection_builds (
  name TEXT NOT NULL,
  build INTEGER NOT NULL,
  version INTEGER NOT NULL,
  published INTEGER NOT NULL,
  position INTEGER NOT NULL,
  fault TEXT,
  tables TEXT NOT NULL,
  PRIMARY KEY (name, build)
) STRICT`;

export function openBuilds(db: Database): Builds {
  db.exec(catalogue);
  const rowsOf = db.prepare<BuildRow>('SELECT * FROM projection_builds WHERE name = ? ORDER BY build');
  const allRows = db.prepare<BuildRow>('SELECT * FROM projection_builds');
  const insert = db.prepare('INSERT INTO projection_builds VALUES (?, ?, ?, 0, 0, NULL, ?)');
  const update = db.prepare('UPDATE projection_builds SET position = ?, fault = ? WHERE name = ? AND build = ?');
  const markPublished = db.prepare('UPDATE projection_builds SET published = 1 WHERE name = ? AND build = ?');
  const remove = db.prepare('DELETE FROM projection_builds WHERE name = ? AND build = ?');

  const drop = (row: BuildRow) => {
    for (const table of JSON.parse(row.tables) as string[]) {
      if (row.published) db.exec(`DROP VIEW IF EXISTS ${table}`);
      db.exec(`DROP TABLE IF EXISTS ${tableOf(row.name, row.build)(table)}`);
    }
    remove.run(row.name, row.build);
  };
  const prepare = (projection: Projection, build: number, published: boolean, position: number): Build => {
    const project = projection.writer(db, tableOf(projection.name, build));
    return { projection, build, project, published, position };
  };
  const begin = (projection: Projection): Build => {
    const build = Math.max(0, ...rowsOf.all(projection.name).map(row => row.build)) + 1;
    transaction(db, () => {
      db.exec(projection.schema(tableOf(projection.name, build)));
      insert.run(projection.name, build, projection.version, JSON.stringify(projection.tables));
    });
    return prepare(projection, build, false, 0);
  };
  const publish = (build: Build) => {
    const { name, tables } = build.projection;
    transaction(db, () => {
      for (const row of rowsOf.all(name)) if (row.build !== build.build) drop(row);
      for (const table of tables) db.exec(`CREATE VIEW ${table} AS SELECT * FROM ${tableOf(name, build.build)(table)}`);
      markPublished.run(name, build.build);
    });
    build.published = true;
  };

  return {
    begin,
    publish,
    open(projection) {
      const rows = rowsOf.all(projection.name);
      const current = rows.filter(row => row.version === projection.version).at(-1);
      const stale = rows.filter(row => row !== current && !row.published);
      transaction(db, () => stale.forEach(drop));
      const build = current ? prepare(projection, current.build, current.published === 1, current.position) : begin(projection);
      // Without an older build to show, the queries see the first one grow.
      if (!build.published && !rows.some(row => row.published)) publish(build);
      return build;
    },
    save: ({ projection, build, position, fault }) => void update.run(position, fault?.message ?? null, projection.name, build),
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

/** @throws TypeError when a projection or table is called what SQL could not be told safely */
export function requireNames({ name, tables }: Projection): void {
  for (const word of [name, ...tables])
    if (!/^[a-z][a-z0-9_]*$/.test(word)) throw new TypeError(`not a name of a projection or table: ${word}`);
}

export function transaction(db: Database, work: () => void): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    work();
    db.exec('COMMIT');
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
