import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { utf8 } from '../../bytes.ts';
import type { EventLogSettings } from '../../config.ts';
import { sha256Hex } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import { type KurrentStoreOptions, openKurrentStore } from '../../eventstore/kurrentdb.ts';
import type { EventStore } from '../../eventstore/port.ts';
import { openSqliteStore } from '../../eventstore/sqlite.ts';
import type { Keystore } from '../../keystore/port.ts';
import { standingKey } from '../../keystore/standingKey.ts';
import { credentialsIn } from './credentials.ts';

/** The event log of a data folder, sealed with a key of its keystore. */

export const eventsFile = ({ dataDir }: EventLogSettings): string => join(dataDir, 'events.db');

/** A folder that has its keys back but not its log yet must not get an empty one: a backup is not put over a log.
 *  @throws NusecError STATE */
export function requireEventLog(settings: EventLogSettings): void {
  if (settings.eventStore !== undefined || existsSync(eventsFile(settings))) return;
  const { dataDir } = settings;
  throw new NusecError(
    'STATE',
    `${dataDir} has no event log: put a backup back (nusec restore BACKUP --data ${dataDir}), or make a new project (nusec init)`,
  );
}

/** What the streams of a project begin with: the same on every server that has its keys, and nobody else's. */
const logName = (sealKey: Uint8Array): string => `nusec-${sha256Hex(Buffer.concat([utf8('nusec log name v1'), sealKey])).slice(0, 16)}`;

const sealMessage = utf8('nusec log seal key v1');

/** @throws NusecError STORE_DAMAGED (also: not as this project sealed it), and what the keystore throws */
export async function openEventLog(settings: EventLogSettings, keystore: Keystore): Promise<EventStore> {
  const { eventStore, acceptOlder = false } = settings;
  if (eventStore !== undefined) return openKurrentStore(await kurrentOptions({ ...settings, eventStore }, keystore));
  return openSqliteStore({ file: eventsFile(settings), acceptOlder, seal: await standingKey(keystore, 'log-seal', sealMessage) });
}

/** How the log of a data folder is reached that is in KurrentDB. @throws NusecError BAD_REQUEST, KEYSTORE_PERMISSIONS, and what the keystore throws */
export async function kurrentOptions(
  settings: EventLogSettings & { readonly eventStore: string },
  keystore: Keystore,
): Promise<KurrentStoreOptions> {
  const { eventStore: url, eventStoreCredentialsFile, acceptOlder = false } = settings;
  const credentials = eventStoreCredentialsFile === undefined ? undefined : credentialsIn(eventStoreCredentialsFile, 'the event store');
  const seal = await standingKey(keystore, 'log-seal', sealMessage);
  return { url, credentials, name: logName(seal.key), file: eventsFile(settings), seal, acceptOlder };
}
