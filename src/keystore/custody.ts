import { closeSync, openSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import { toHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { boundLimit, isDamage, naming, openLog, transaction, useWal } from '../sqliteFile.ts';
import { createBatcher } from './batcher.ts';
import { createHotRows, type HotRows } from './hotRows.ts';
import { keyExists } from './keyRules.ts';
import { checkOwnerOnly, secretFileMode } from './secretFile.ts';

/** Custody of per-device boot keys (R89): the public key of every (UID, OBJ_ID, slot) permanently, and the private key wrapped under
 *  a key of the keystore until it is destroyed. Nothing here opens without the keystore.
 *
 *  Each row has a checksum over all of it, so nothing of a key that a disk has changed is served, and a key whose id was changed is not made again.
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

/** Every function but `close`: @throws STORE_DAMAGED, naming the key or the file, when it is not what was stored. */
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
    created_at TEXT NOT NULL, wrapped BLOB, destroyed_at TEXT, crc INTEGER
  ) STRICT, WITHOUT ROWID`;

/** Another process may be committing. */
const busyTimeoutMs = 5000;

/** Rows that get their checksum in one read while an older file is opened. */
const checkedAtOnce = 10_000;
/** Rows of one read while all are looked at. */
const lookedAtOnce = 200;
const remedy = 'stop the server and put the boot keys back from a backup (nusec restore)';

const columns = 'key_id, kek_id, public_key, created_at, wrapped, destroyed_at, crc';
type Row = readonly [string, string, Uint8Array, string, Uint8Array | null, string | null, number | null];

/** Makes the file (mode 600) when it is missing. @throws KEYSTORE_DAMAGED when it is no database, KEYSTORE_PERMISSIONS */
export function openCustody(file: string): Custody {
  const database = openDatabase(file);
  const insert = database.prepare(`INSERT INTO custody_key (${columns}) VALUES (?, ?, ?, ?, ?, NULL, ?) ON CONFLICT DO NOTHING`);
  const select = database.prepare<Row>(`SELECT ${columns} FROM custody_key WHERE key_id = ?`).raw();
  const selectAfter = database.prepare<Row>(`SELECT ${columns} FROM custody_key WHERE key_id > ? ORDER BY key_id ${boundLimit}`).raw();
  const neighbours = database
    .prepare<Row>(
      `SELECT * FROM (SELECT ${columns} FROM custody_key WHERE key_id < ? ORDER BY key_id DESC LIMIT 1)
       UNION ALL SELECT * FROM (SELECT ${columns} FROM custody_key WHERE key_id > ? ORDER BY key_id LIMIT 1)`,
    )
    .raw();
  const count = database.prepare<number>('SELECT count(*) FROM custody_key').pluck();
  const erase = database.prepare('UPDATE custody_key SET wrapped = NULL, destroyed_at = ?, crc = ? WHERE key_id = ?');
  const rewrap = database.prepare('UPDATE custody_key SET kek_id = ?, wrapped = ?, crc = ? WHERE key_id = ?');
  const takeOver = database.prepare('INSERT INTO custody_key VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING');
  const named = <Result>(work: () => Result): Result => naming(file, remedy, work);
  const fromRow = keysIn(file);
  const hot = createHotRows<CustodyKey>(database);

  const read = (keyId: string): CustodyKey | undefined => {
    const row = select.get(keyId);
    return row && fromRow(row);
  };
  const get = (keyId: string): CustodyKey | undefined => named(() => hot.get(keyId, () => read(keyId)));
  const stored = (keyId: string): CustodyKey => {
    const key = get(keyId);
    if (key === undefined) throw new NusecError('KEY_NOT_FOUND', `there is no key ${keyId}`);
    return key;
  };
  /** A key whose id was changed stands where its id was: it is a neighbour of what seems to be new there. */
  const requireNeighbours = (keyId: string): void => neighbours.all(keyId, keyId).forEach(row => void fromRow(row));
  const perKek = database.prepare<{ kek_id: string; keys: number }>(
    'SELECT kek_id, count(*) AS keys FROM custody_key WHERE wrapped IS NOT NULL GROUP BY kek_id',
  );
  const log = openOwnLog(file);
  const batcher = createBatcher(createCommit(database, hot, log.sync));

  return {
    get: async keyId => get(keyId),
    settled: log.sync,
    put: key =>
      batcher.add({
        erases: false,
        run() {
          const known = get(key.keyId);
          if (known !== undefined) return known;
          requireNeighbours(key.keyId);
          insert.run(key.keyId, key.kekId, key.publicKey, key.createdAt, key.wrapped, checkOf(key));
          return key;
        },
      }),
    async destroy(keyId, at) {
      await batcher.add({
        erases: true,
        run() {
          const key = stored(keyId);
          if (key.destroyedAt !== undefined) return key;
          const { wrapped, ...publicPart } = key;
          const erased = { ...publicPart, destroyedAt: at };
          erase.run(at, checkOf(erased), keyId);
          return erased;
        },
      });
    },
    async replaceWrapping({ keyId, kekId, wrapped }, oldKekId) {
      await batcher.add({
        erases: true,
        run() {
          const key = stored(keyId);
          if (key.destroyedAt !== undefined || key.kekId !== oldKekId) return key;
          const rewrapped = { ...key, kekId, wrapped };
          rewrap.run(kekId, wrapped, checkOf(rewrapped), keyId);
          return rewrapped;
        },
      });
    },
    async takeOver(keys) {
      hot.clear();
      transaction(database, () => {
        for (const key of keys) {
          const { keyId, kekId, publicKey, createdAt, wrapped, destroyedAt } = key;
          const { changes } = takeOver.run(keyId, kekId, publicKey, createdAt, wrapped ?? null, destroyedAt ?? null, checkOf(key));
          if (changes === 0) throw keyExists(keyId);
        }
      });
      await log.sync();
    },
    wrappedBy: async () => new Map(named(() => perKek.all()).map(row => [row.kek_id, row.keys])),
    list: async (after, limit) => named(() => selectAfter.all(after, limit).map(fromRow)),
    count: async () => named(() => count.get() ?? 0),
    async close() {
      await batcher.idle();
      await log.close();
      database.close();
    },
  };
}

/** Ids of the keys in a custody file that are not what was stored; undefined where one may pause. A file of an earlier version has no checksums, and
 *  one without keys nothing to look at. */
export function* damagedKeys(database: Database): Generator<string | undefined> {
  const has = database.prepare("SELECT 1 FROM pragma_table_info('custody_key') WHERE name = 'crc'");
  if (has.get() === undefined) return;
  const rows = database.prepare<Row>(`SELECT ${columns} FROM custody_key WHERE key_id > ? ORDER BY key_id LIMIT ${lookedAtOnce}`).raw();
  for (let page = rows.all(''); page.length > 0; page = rows.all((page.at(-1) as Row)[0])) {
    for (const row of page) if (!isRow(row) || checkOf(fromColumns(row)) !== row[6]) yield String(row[0]);
    yield undefined;
  }
}

type Change = {
  readonly erases: boolean;
  /** @throws NusecError what refuses this change alone */
  run(): CustodyKey;
};

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
  hot: Pick<HotRows<CustodyKey>, 'clear'>,
  sync: () => Promise<void>,
): (changes: readonly Change[]) => Promise<readonly (CustodyKey | NusecError)[]> {
  let erasureDue = false;
  return async changes => {
    hot.clear();
    const outcomes = naming(database.name, remedy, () => transaction(database, () => changes.map(outcomeOf)));
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
    useWal(database);
    // A commit writes the log and does not wait for the disk: openOwnLog does.
    database.pragma('synchronous = NORMAL');
    database.pragma('secure_delete = ON');
    database.exec(schema);
    addChecks(database);
    database.prepare(`SELECT ${columns} FROM custody_key`);
    return database;
  } catch (cause) {
    database.close();
    // A table without our columns is one whose definition was changed.
    const isOurs = !isDamage(cause) && (cause as { code?: unknown } | null)?.code !== 'SQLITE_ERROR';
    throw isOurs ? cause : new NusecError('KEYSTORE_DAMAGED', `${file} is not a custody database`, { cause });
  }
}

function outcomeOf(change: Change): CustodyKey | NusecError {
  try {
    return change.run();
  } catch (error) {
    if (error instanceof NusecError) return error;
    throw error;
  }
}

/** CRC-32 (as zlib) over everything of a key. */
const checkOf = ({ keyId, kekId, publicKey, createdAt, wrapped, destroyedAt }: CustodyKey): number =>
  crc32(JSON.stringify([keyId, kekId, toHex(publicKey), createdAt, wrapped === undefined ? null : toHex(wrapped), destroyedAt ?? null]));

/** @returns takes the key out of a row, @throws NusecError STORE_DAMAGED unless it is as it was stored */
function keysIn(file: string): (row: Row) => CustodyKey {
  return row => {
    const key = isRow(row) ? fromColumns(row) : undefined;
    if (key === undefined || checkOf(key) !== row[6])
      throw new NusecError('STORE_DAMAGED', `${file}: the key ${row[0]} is not what was stored; ${remedy}`);
    return key;
  };
}

/** In a page that was overwritten, values are of other types. */
const isRow = ([keyId, kekId, publicKey, createdAt, wrapped, destroyedAt]: Row): boolean =>
  [keyId, kekId, createdAt, destroyedAt ?? ''].every(text => typeof text === 'string') &&
  [publicKey, wrapped ?? publicKey].every(bytes => bytes instanceof Uint8Array);

function fromColumns([keyId, kekId, publicKey, createdAt, wrapped, destroyedAt]: Row): CustodyKey {
  return {
    keyId,
    kekId,
    publicKey: plain(publicKey),
    createdAt,
    ...(wrapped && { wrapped: plain(wrapped) }),
    ...(destroyedAt !== null && { destroyedAt }),
  };
}

/** Gives the rows of a file of an earlier version their checksums. */
function addChecks(database: Database): void {
  const has = database.prepare("SELECT 1 FROM pragma_table_info('custody_key') WHERE name = 'crc'");
  if (has.get() !== undefined) return;
  transaction(database, () => {
    if (has.get() !== undefined) return;
    database.exec('ALTER TABLE custody_key ADD COLUMN crc INTEGER');
    const rows = database.prepare<Row>(`SELECT ${columns} FROM custody_key WHERE key_id > ? ORDER BY key_id LIMIT ${checkedAtOnce}`).raw();
    const update = database.prepare('UPDATE custody_key SET crc = ? WHERE key_id = ?');
    for (let page = rows.all(''); page.length > 0; page = rows.all((page.at(-1) as Row)[0]))
      for (const row of page) update.run(checkOf(fromColumns(row)), row[0]);
  });
}

/** The bytes of the row, without a copy: each row has its own. */
const plain = ({ buffer, byteOffset, length }: Uint8Array): Uint8Array => new Uint8Array(buffer, byteOffset, length);
