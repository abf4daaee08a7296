import { NusecError } from '../errors.ts';
import type { CommitLog } from './kurrentdb/commitLog.ts';
import { type ConnectionOptions, openConnection } from './kurrentdb/connection.ts';
import { type Copy, keepCopy, requireSameLog } from './kurrentdb/copy.ts';
import { createShipping } from './kurrentdb/shipping.ts';
import { kurrentCommitLog } from './kurrentdb/streams.ts';
import type { EventStore } from './port.ts';
import { createSealer } from './seal.ts';
import type { SqliteStoreOptions } from './sqlite.ts';
import { openSqliteCopy } from './sqlite.ts';
import { removeCopy } from './sqliteTaken.ts';
import { createStore, fullDisk, upkeepTrouble } from './store.ts';
import { storeError } from './storeError.ts';

/** The event store of several machines: the log is in KurrentDB, one event per commit, and each machine keeps a copy of it in a SQLite file, from
 *  which it reads and decides. Whatever is stored is stored behind the newest commit that the decision knew (docs/decisions/026). */

export type KurrentStoreOptions = ConnectionOptions &
  Pick<SqliteStoreOptions, 'file' | 'seal' | 'indexEvents'> & {
    /** Takes the log as it is, though it may have less than was acknowledged here; default: refuse that. */
    readonly acceptOlder?: boolean;
    /** Opens a log that was moved out of KurrentDB (move.ts); default: refuse that. */
    readonly takesClosed?: boolean;
    /** What the streams of this project begin with. */
    readonly name: string;
  };

/** How often a trial shows whether the log can be written. */
const troubleEveryMs = 1000;

/** Connects and takes in what is not in the copy yet; resolves when everything that is stored is here.
 *  @throws NusecError BAD_REQUEST (not an address), STORE_UNAVAILABLE, STORE_DAMAGED (the copy is not of this log, or the log has less than was
 *  acknowledged; an event is not as this project sealed it), STATE (also: the log was moved out of KurrentDB) */
export async function openKurrentStore({
  name,
  file,
  seal,
  indexEvents,
  acceptOlder = false,
  takesClosed = false,
  ...address
}: KurrentStoreOptions): Promise<EventStore> {
  const connection = await openConnection(address);
  const log = kurrentCommitLog(connection, name);
  let storage: Awaited<ReturnType<typeof openSqliteCopy>> | undefined;
  let store: EventStore | undefined;
  try {
    if (acceptOlder) removeCopy(file);
    storage = await openSqliteCopy({ file, ...(indexEvents !== undefined && { indexEvents }) });
    const newest = await requireSameLog(storage, log);
    const closedAt = newest?.commit.closed !== undefined ? newest.revision : undefined;
    store = storeOver(storage, log, seal, { closedAt, takesClosed });
    await store.head();
    return store;
  } catch (error) {
    await (store ?? { close: async () => void (await Promise.all([storage?.close(), log.close()])) }).close();
    throw storeError(error, 'the event store cannot be opened');
  }
}

function storeOver(
  storage: Awaited<ReturnType<typeof openSqliteCopy>>,
  log: CommitLog,
  seal: KurrentStoreOptions['seal'],
  ofLog: { readonly closedAt: number | undefined; readonly takesClosed: boolean },
): EventStore {
  const sealing = seal && { sealer: createSealer(seal.key), isNew: seal.isNew };
  const copies: Copy[] = [];
  const local = createStore(storage, {
    sealing,
    order: (writer, changed) => {
      const copy = keepCopy({ storage, writer, changed, ...ofLog }, log);
      copies.push(copy);
      return createShipping({ storage, writer, sealer: sealing?.sealer }, log, copy);
    },
  });
  const copy = copies[0] as Copy;
  let closing: Promise<void> | undefined;
  let trial: { readonly atMs: number; readonly outcome: Promise<NusecError | undefined> } | undefined;
  const close = async (): Promise<void> => {
    log.stopTrying();
    await copy.close();
    await local.close();
    await log.close();
  };
  /** What is stored counts when it is in the copy here: one that takes in nothing more is trouble too. */
  const tryToWrite = async (): Promise<NusecError | undefined> => {
    try {
      await Promise.all([log.tryToWrite(), copy.current()]);
      return (await fullDisk(storage)) ?? upkeepTrouble(storage);
    } catch (error) {
      return storeError(error, 'the event store cannot be written');
    }
  };
  return {
    ...local,
    async readStream(stream, fromRevision) {
      if (closing === undefined) await copy.fresh();
      return local.readStream(stream, fromRevision);
    },
    async head() {
      if (closing === undefined) await copy.current();
      return local.head();
    },
    async readBlob(sha256) {
      if (closing === undefined) await copy.fresh();
      return local.readBlob(sha256);
    },
    async trouble() {
      if (closing !== undefined) return new NusecError('STORE_CLOSED', 'the event store is closed');
      if (trial === undefined || performance.now() - trial.atMs > troubleEveryMs)
        trial = { atMs: performance.now(), outcome: tryToWrite() };
      return trial.outcome;
    },
    lease: log.lease,
    servers: log.servers,
    close() {
      closing ??= close();
      return closing;
    },
  };
}
