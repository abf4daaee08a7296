import { whileOpen } from '../../closing.ts';
import type { Settings } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { moveIntoKurrent, moveOutOfKurrent } from '../../eventstore/kurrentdb/move.ts';
import type { EventStore } from '../../eventstore/port.ts';
import { livingServers } from '../processes/serverList.ts';
import { eventsFile, kurrentOptions } from './eventLog.ts';
import { openKeystore, openObjects, requireDataFolder } from './keystore.ts';
import { type MovedFiles, moveFiles } from './moveFiles.ts';
import { requireNoServer } from './noServer.ts';

/** Moves the event log of a data folder into KurrentDB, and what several machines share beside it into the object store, while no server runs there.
 *  @throws NusecError BAD_REQUEST (no address), STATE, and as moveIntoKurrent */
export async function moveLog(settings: Settings): Promise<{ readonly events: number } & Partial<MovedFiles>> {
  requireDataFolder(settings);
  const { eventStore } = settings;
  if (eventStore === undefined) throw new NusecError('BAD_REQUEST', 'where to: give --event-store or KURRENTDB_URL');
  return whileOpen(async own => {
    own('leader lock', { close: requireNoServer(settings) });
    const keystore = own('keystore', await openKeystore({ ...settings, objectStore: undefined }));
    const events = await moveIntoKurrent(await kurrentOptions({ ...settings, eventStore }, keystore));
    const objects = await openObjects(settings);
    if (objects === undefined) return { events };
    return { events, ...(await moveFiles(settings, keystore, own('object store', objects))) };
  });
}

/** Makes the copy in a data folder the log again.
 *  @param isLost the database is: the copy is taken as it is, and nobody asks for other servers
 *  @returns how many events the log has @throws NusecError BAD_REQUEST (no address), STATE (a server runs, here or elsewhere), and as moveOutOfKurrent */
export async function moveLogOut(settings: Settings, isLost: boolean): Promise<{ readonly events: number }> {
  requireDataFolder(settings);
  const eventStore = isLost ? undefined : settings.eventStore;
  if (eventStore === undefined && !isLost)
    throw new NusecError('BAD_REQUEST', 'where it is: give --event-store or KURRENTDB_URL, or --database-lost when it is nowhere any more');
  return whileOpen(async own => {
    own('leader lock', { close: requireNoServer(settings) });
    const keystore = own('keystore', await openKeystore(settings));
    const address = eventStore === undefined ? {} : await kurrentOptions({ ...settings, eventStore }, keystore);
    return { events: await moveOutOfKurrent({ file: eventsFile(settings), ...address }, requireAlone) };
  });
}

async function requireAlone({ servers }: EventStore): Promise<void> {
  const [living] = servers === undefined ? [] : await livingServers(servers);
  if (living !== undefined) throw new NusecError('STATE', `a server runs at ${living.host}: stop it first`);
}
