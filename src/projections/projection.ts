import type Database from 'better-sqlite3';
import type { EventType } from '../domain/events.ts';
import type { Recorded } from '../eventstore/recorded.ts';

/** Gives a projection's table its real name: each build of a projection has its own tables. */
export type TableName = (name: string) => string;

/** A read model: tables of its own in the read-model file, filled from the events and from nothing else.
 *
 *  The function that `writer` returns runs once per event and build, in order, in the transaction that also moves the checkpoint.
 *  It keeps no state outside its tables: a transaction may be rolled back and run again. An event type it does not know, it ignores.
 *
 *  ```ts
 *  export const devices: Projection = {
 *    name: 'devices',
 *    version: 1,
 *    tables: ['devices'],
 *    schema: table => `CREATE TABLE ${table('devices')} (uid TEXT PRIMARY KEY, line TEXT NOT NULL) STRICT, WITHOUT ROWID`,
 *    writer(db, table) {
 *      const put = db.prepare(`INSERT INTO ${table('devices')} VALUES (?, ?) ON CONFLICT DO UPDATE SET line = excluded.line`);
 *      return on({ DeviceMinted: ({ data }) => put.run(data.uid, data.line) });
 *    },
 *  };
 *  ``` */
export type Projection = {
  /** Lower-case letters, digits and `_`, beginning with a letter. */
  readonly name: string;
  /** Raised with every change of the tables or of what is written: the projection is then built again beside the old one. */
  readonly version: number;
  /** Names under which queries find the tables; unique over all projections. */
  readonly tables: readonly string[];
  /** Its rows name people, or have what people typed: it is built again when somebody is erased. */
  readonly namesPeople?: true;
  /** CREATE TABLE and CREATE INDEX statements. An index is named after its table: `${table('devices')}_line`. */
  schema(table: TableName): string;
  /** Prepares the statements once and gives the function that projects one event. */
  writer(db: Database, table: TableName): Write;
};

export type Write = (event: Recorded) => void;

/** One function per event type. */
export type Handlers = { readonly [Type in EventType]?: (event: Recorded<Type>) => unknown };

/** Projects the events that have a function, and ignores the others. */
export function on(handlers: Handlers): Write {
  const byType = new Map<string, (event: never) => unknown>(Object.entries(handlers));
  return event => void byType.get(event.type)?.(event as never);
}

/** `device-00…ff` → `00…ff` */
export const subjectOf = (stream: string): string => stream.slice(stream.indexOf('-') + 1);
