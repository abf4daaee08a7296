/** The part of better-sqlite3 13 that this project uses (the package ships no typings). */
declare module 'better-sqlite3' {
  class Database {
    constructor(
      file: string,
      options?: {
        readonly readonly?: boolean;
        readonly fileMustExist?: boolean /** Busy time-out, milliseconds. */;
        readonly timeout?: number;
      },
    );
    readonly open: boolean;
    readonly inTransaction: boolean;
    readonly name: string;
    prepare<Row = unknown>(sql: string): Database.Statement<Row>;
    exec(sql: string): this;
    pragma(sql: string, options?: { readonly simple?: boolean }): unknown;
    /** Copies the database, a few pages in each turn of the event loop. Within a transaction: as of its beginning. */
    backup(
      file: string,
      options?: { readonly progress?: (progress: { readonly totalPages: number; readonly remainingPages: number }) => number },
    ): Promise<unknown>;
    close(): this;
  }

  namespace Database {
    type Value = null | number | bigint | string | Uint8Array;
    type RunResult = { readonly changes: number; readonly lastInsertRowid: number | bigint };

    interface Statement<Row = unknown> {
      readonly reader: boolean;
      readonly readonly: boolean;
      run(...values: readonly Value[]): RunResult;
      /** By name: `@uid` in the statement takes `uid`; names it does not use are ignored. */
      run(values: Readonly<Record<string, Value>>): RunResult;
      get(...values: readonly Value[]): Row | undefined;
      all(...values: readonly Value[]): Row[];
      iterate(...values: readonly Value[]): IterableIterator<Row>;
      /** Rows as arrays of columns. */
      raw(): this;
      /** The first column only. */
      pluck(): this;
    }

    /** `code` is SQLite's extended result code, such as SQLITE_FULL or SQLITE_IOERR_FSYNC. */
    class SqliteError extends Error {
      readonly code: string;
    }
  }

  export = Database;
}
