import Database from 'better-sqlite3';

/** Child process of processes.test.ts: takes the write lock of a store and holds it until it is told to let go. */

const db = new Database(process.argv[2] as string);
db.exec('BEGIN IMMEDIATE');
process.send?.('held');
process.once('message', () => {
  db.exec('ROLLBACK');
  db.close();
  process.disconnect();
});
