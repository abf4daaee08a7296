import Database from 'better-sqlite3';
import { Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely';
import { lru } from '../lru.ts';
import { boundLimit, naming, useWal } from '../sqliteFile.ts';

/** The file of the read models: one writer (the runner), which queries read too. All of it can be rebuilt from the events. */

const cacheKib = 65_536;
/** Of new files. Rows are a few hundred bytes and change at random places: of each change, a page is written twice. */
const pageBytes = 2048;
const busyTimeoutMs = 5000;
/** Somebody else may hold the file for minutes; waiting for it stops the whole process, so the follower tries again later instead. */
const writeBusyTimeoutMs = 50;
/** Prepared queries kept per reader. */
const maxPreparedQueries = 500;

/** Opens the read models for writing. A crash may lose the last transactions, never half of one: their checkpoint is lost with them. */
export function openReadModelWriter(file: string): Database {
  const db = new Database(file, { timeout: busyTimeoutMs });
  try {
    db.pragma(`page_size = ${pageBytes}`);
    useWal(db);
    db.pragma('synchronous = NORMAL');
    db.pragma(`cache_size = -${cacheKib}`);
    // A build that had the name of somebody who is erased leaves nothing of it in the file.
    db.pragma('secure_delete = ON');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Names a file of read models that is damaged. @throws NusecError STORE_DAMAGED, and what `work` throws */
export const namingReadModels = <Result>(file: string, work: () => Result): Result => naming(file, builtAgain, work);

export const builtAgain = 'stop the server and delete it; it is built again';

/** From here on a write waits for nobody. */
export const limitWriteWaits = (db: Database): void => void db.pragma(`busy_timeout = ${writeBusyTimeoutMs}`);

/** Queries over the read models, on the connection that writes them: its memory has the pages that were written last, where that of another connection is
 *  empty after every write. A write is one turn of the loop, so a query meets none that is half done. Nothing else than reading is let through.
 *  @typeParam Tables row types by table name, as the projections declare them */
export function openReadModel<Tables>(writer: Database): Kysely<Tables> {
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database: async () => readerOf(writer) }) });
}

/** Kysely prepares the text of every query again; here the same text is prepared once. */
function readerOf(writer: Database): SqliteDatabase {
  const prepared = lru<SqliteStatement>(maxPreparedQueries);
  const prepareOnce = (sql: string): SqliteStatement => {
    const known = writer.prepare(sql.replaceAll(' limit ?', ` ${boundLimit}`));
    if (!known.readonly) throw new Error('the read models are written by the events alone');
    const statement = known as unknown as SqliteStatement;
    return {
      reader: statement.reader,
      all: values => namingReadModels(writer.name, () => statement.all(values)),
      run: values => statement.run(values),
      iterate: () => {
        throw new Error('a query that goes on over several turns would hold up the writer');
      },
    };
  };
  return {
    // Who writes closes it.
    close: () => undefined,
    prepare(sql) {
      const known = prepared.get(sql) ?? prepareOnce(sql);
      prepared.set(sql, known);
      return known;
    },
  };
}
