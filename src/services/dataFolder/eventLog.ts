import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { utf8 } from '../../bytes.ts';
import type { EventLogSettings } from '../../config.ts';
import { pointOf } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import type { EventStore } from '../../eventstore/port.ts';
import { openSqliteStore } from '../../eventstore/sqlite.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import type { Keystore } from '../../keystore/port.ts';

/** The event log of a data folder, sealed with a key of its keystore. */

export const eventsFile = ({ dataDir }: EventLogSettings): string => join(dataDir, 'events.db');

/** A folder that has its keys back but not its log yet must not get an empty one: a backup is not put over a log.
 *  @throws NusecError STATE */
export function requireEventLog(settings: EventLogSettings): void {
  if (existsSync(eventsFile(settings))) return;
  const { dataDir } = settings;
  throw new NusecError(
    'STATE',
    `${dataDir} has no event log: put a backup back (nusec restore BACKUP --data ${dataDir}), or make a new project (nusec init)`,
  );
}

const pairId = 'log-seal-pair/1';
const keyId = 'log-seal/1';
const message = utf8('nusec log seal key v1');

/** @throws NusecError STORE_DAMAGED (also: not as this project sealed it), and what the keystore throws */
export async function openEventLog(settings: EventLogSettings, keystore: Keystore): Promise<EventStore> {
  return openSqliteStore({ file: eventsFile(settings), acceptOlder: settings.acceptOlder ?? false, seal: await sealKey(keystore) });
}

/** The key that commits are sealed with. It leaves the keystore, for as long as a process runs: a token would take longer for each seal than the
 *  disk does for the commit. @returns whether it was made now */
async function sealKey(keystore: Keystore): Promise<{ readonly key: Uint8Array; readonly isNew: boolean }> {
  const isNew = !(await keystore.list()).some(({ id }) => id === keyId);
  if (isNew) await makeKey(keystore);
  return { key: await keystore.mac(keyId, message), isNew };
}

/** Agreed by a pair with itself: unlike a generated key, an agreed one stays the same when the keystore moves into a token. */
async function makeKey(keystore: Keystore): Promise<void> {
  await ensureKey(keystore, pairId, 'P-256');
  const point = pointOf(await keystore.publicKey(pairId));
  await keystore.derive(pairId, point, { salt: new Uint8Array(), info: message }, keyId).catch(error => {
    if (!(error instanceof NusecError && error.code === 'KEY_EXISTS')) throw error;
  });
}
