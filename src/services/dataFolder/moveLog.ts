import { whileOpen } from '../../closing.ts';
import type { Settings } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { moveIntoKurrent } from '../../eventstore/kurrentdb/move.ts';
import { kurrentOptions } from './eventLog.ts';
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
