import { closeSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { isDamage, openLog, transaction } from '../sqliteFile.ts';
import { createBatcher } from './batcher.ts';
import { keyExists } from './keyRules.ts';
import { checkOwnerOnly, secretFileMode } from './secretFile.ts';

/** Custody of per-device boot keys (R89): the public key of every (UID, OBJ_ID, slot) permanently, and the private key wrapped under
 *  a key of the keystore until it is destroyed. Nothing here opens without the keystore.
 *
 *  Here in one SQLite file, durable before anything is answered; puts and destroys that come while the disk works share a transaction. Several
 *  processes may hold it open. For servers on several machines: objectCustody.ts. */

/** @property wrapped as the keystore handed it out under `kekId`, with the key id as its context; absent once destroyed, when `destroyedAt` says since when */
export type CustodyKey = {
  readonly keyId: string;
  readonly kekId: string;
  /** SubjectPublicKeyInfo, 91 bytes. */
  readonly publicKey: Uint8Array;
  readonly createdAt: string;
  readonly wrapped?: Uint8Array;
  readonly destroyedAt?: string;
};

type NewCustodyKey = Required<Omit<CustodyKey, 'destroyedAt'>>;

export type Custody = {
  /** The first put of a key id wins, permanently, destroyed or not (I5). @returns what is stored under the id, once durable */
  put(key: NewCustodyKey): Promise<CustodyKey>;
  /** What is stored, which another put may have written a moment ago: see `settled`. */
  get(keyId: string): Promise<CustodyKey | undefined>;
  /** Resolves when everything that `get` has shown is durable, whichever process has put it. */
  settled(): Promise<void>;
  /** Erases the wrapped key from the database and its log; the public half stays. Repeating it changes nothing. @throws KEY_NOT_FOUND */
  destroy(keyId: string, at: string): Promise<void>;
  /** Puts the same key, wrapped again under another key-encryption key, in the place of the old wrapping, which is erased. A key that was
   *  destroyed or re-wrapped meanwhile stays as it is. */
  replaceWrapping(key: Required<Pick<CustodyKey, 'keyId' | 'kekId' | 'wrapped'>>, oldKekId: string): Promise<void>;
  /** Takes keys over as they are, destroyed ones too, from a backup or another custody. @throws KEY_EXISTS when one is there: then none is taken */
  takeOver(keys: readonly CustodyKey[]): Promise<void>;
  /** How many keys each key-encryption key still wraps. */
  wrappedBy(): Promise<ReadonlyMap<string, number>>;
  /** At most `limit` keys in order of key id, from the one after `after` (`''`: from the start). */
  list(after: string, limit: number): Promise<readonly CustodyKey[]>;
  /** All keys ever put, the destroyed ones with them. */
  count(): Promise<number>;
  close(): Promise<void>;
};

const schema = `
  CREATE TABLE IF NOT EXISTS custody_key (
    key_id TEXT PRIMARY KEY, kek_id TEXT NOT NULL, public_key BLOB NOT NULL,
    created_at TEXT NOT NULL, wrapped BLOB, destroyed_at TEXT
  ) STRICT, WITHOUT ROWID`;

/** Another process may be committing. */
const busyTimeoutMs = 5000;

const columns = 'key_id, kek_id, public_key, created_at, wrapped, destroyed_at';
type Row = readonly [string, string, Uint8Array, string, Uint8Array | null, string | null];

/** Makes the file (mode 600) when it is missing. @throws KEYSTORE_DAMAGED when it is no database, KEYSTORE_PERMISSIONS */
export function openCustody(file: string): Custody {
  const database = openDatabase(file);
  const insert = database.prepare(
    'INSERT INTO custody_key (key_id, kek_id, public_key, created_at, wrapped) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
  );
  const select = database.prepare<Row>(`SELECT ${columns} FROM custody_key WHERE key_id = ?`).raw();
  const selectAfter = database.prepare<Row>(`SELECT ${columns} FROM custody_key WHERE key_id > ? ORDER BY key_id LIMIT ?`).raw();
  const count = database.prepare<number>('SELECT count(*) FROM custody_key').pluck();
  const erase = database.prepare('UPDATE custody_key SET wrapped = NULL, destroyed_at = ? WHERE key_id = ? AND destroyed_at IS NULL');

  const get = (keyId: string): CustodyKey | undefined => {
    const row = select.get(keyId);
    return row && fromRow(row);
  };
  const stored = (keyId: string): CustodyKey | NusecError => get(keyId) ?? new NusecError('KEY_NOT_FOUND', `there is no key ${keyId}`);
  const rewrap = database.prepare(
    'UPDATE custody_key SET kek_id = ?, wrapped = ? WHERE key_id = ? AND kek_id = ? AND destroyed_at IS NULL',
  );
  const takeOver = database.prepare('INSERT INTO custody_key VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING');
  const perKek = database.prepare<{ kek_id: string; keys: number }>(
    'SELECT kek_id, count(*) AS keys FROM custody_key WHERE wrapped IS NOT NULL GROUP BY kek_id',
  );
  const log = openOwnLog(file);
  const batcher = createBatcher(createCommit(database, log.sync));

  return {
    get: async keyId => get(keyId),
    settled: log.sync,
    put: key =>
      batcher.add({
        erases: false,
        run() {
          insert.run(key.keyId, key.kekId, key.publicKey, key.createdAt, key.wrapped);
          return stored(key.keyId);
        },
      }),
    async destroy(keyId, at) {
      await batcher.add({
        erases: true,
        run() {
          erase.run(at, keyId);
          return stored(keyId);
        },
      });
    },
    async replaceWrapping({ keyId, kekId, wrapped }, oldKekId) {
      await batcher.add({
        erases: true,
        run() {
          rewrap.run(kekId, wrapped, keyId, oldKekId);
          return stored(keyId);
        },
      });
    },
    async takeOver(keys) {
      transaction(database, () => {
        for (const { keyId, kekId, publicKey, createdAt, wrapped, destroyedAt } of keys) {
          const { changes } = takeOver.run(keyId, kekId, publicKey, createdAt, wrapped ?? null, destroyedAt ?? null);
          if (changes === 0) throw keyExists(keyId);
        }
      });
      await log.sync();
    },
    wrappedBy: async () => new Map(perKek.all().map(row => [row.kek_id, row.keys])),
    list: async (after, limit) => selectAfter.all(after, limit).map(fromRow),
    count: async () => count.get() ?? 0,
    async close() {
      await batcher.idle();
      await log.close();
      database.close();
    },
  };
}

type Change = { readonly erases: boolean; run(): CustodyKey | NusecError };

/** The log of the custody. After one failure nothing is confirmed any more. */
function openOwnLog(file: string) {
  const log = openLog(file);
  let failure: NusecError | undefined;
  return {
    ...log,
    /** Resolves when everything that is committed is on the disk. @throws NusecError STORE_UNAVAILABLE, until the file is opened again */
    async sync(): Promise<void> {
      if (failure !== undefined) throw failure;
      await log.sync().catch(cause => {
        // The system may have dropped the pages: trying again would prove nothing.
        failure = new NusecError('STORE_UNAVAILABLE', 'the disk did not confirm the newest boot keys; open the custody again', { cause });
        throw failure;
      });
    },
  };
}

function createCommit(
  database: Database,
  sync: () => Promise<void>,
): (changes: readonly Change[]) => Promise<readonly (CustodyKey | NusecError)[]> {
  let erasureDue = false;
  return async changes => {
    const outcomes = transaction(database, () => changes.map(change => change.run()));
    await sync();
    erasureDue ||= changes.some(change => change.erases);
    // secure_delete zeroes the row, but older pages remain in the log; while another process reads, the next commit tries again.
    if (erasureDue) erasureDue = !truncateLog(database);
    return outcomes;
  };
}

/** @returns whether the whole log went into the database */
function truncateLog(database: Database): boolean {
  return database.pragma('wal_checkpoint(TRUNCATE)', { simple: true }) === 0;
}

function openDatabase(file: string): Database {
  // SQLite gives its log files the rights of the database.
  closeSync(openSync(file, 'a', secretFileMode));
  checkOwnerOnly(file);
  const database = new Database(file, { timeout: busyTimeoutMs });
  try {
    database.pragma('journal_mode = WAL');
    // A commit writes the log and does not wait for the disk: openOwnLog does.
    database.pragma('synchronous = NORMAL');
    database.pragma('secure_delete = ON');
    database.exec(schema);
    return database;
  } catch (cause) {
    database.close();
    throw isDamage(cause) ? new NusecError('KEYSTORE_DAMAGED', `${file} is not a custody database`, { cause }) : cause;
  }
}

function fromRow([keyId, kekId, publicKey, createdAt, wrapped, destroyedAt]: Row): CustodyKey {
  return {
    keyId,
    kekId,
    publicKey: plain(publicKey),
    createdAt,
    ...(wrapped && { wrapped: plain(wrapped) }),
    ...(destroyedAt !== null && { destroyedAt }),
  };
}

/** The bytes of the row, without a copy: each row has its own. */
const plain = ({ buffer, byteOffset, length }: Uint8Array): Uint8Array => new Uint8Array(buffer, byteOffset, length);
