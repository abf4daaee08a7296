import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { whileOpen } from '../../closing.ts';
import type { Settings } from '../../config.ts';
import { createAlarms } from '../base/alarms.ts';
import { eventsFile, requireEventLog } from '../dataFolder/eventLog.ts';
import { requireDataFolder } from '../dataFolder/keystore.ts';
import { requireNoServer } from '../dataFolder/noServer.ts';
import { openContext } from '../dataFolder/open.ts';
import { checkpointFile } from '../proof/checkpointFiles.ts';
import { startRevocations } from '../revocation/revocations.ts';
import { type Accepted, acceptStore } from './acceptStore.ts';

/** Takes up the store that is in a data folder, on the server's own machine, while no server runs there. */

export const checkpointPlaces = ({ dataDir, witnessDir }: Pick<Settings, 'dataDir' | 'witnessDir'>) => ({
  file: checkpointFile(dataDir),
  headsFile: join(dataDir, 'heads.db'),
  ...(witnessDir !== undefined && { witnessDir }),
});

/** @param tokens none, or those of two administrators
 *  @throws NusecError STATE (a server runs, or there is no event log), as openContext and acceptStore */
export async function takeUp(settings: Settings, tokens: readonly string[]): Promise<Accepted> {
  requireDataFolder(settings);
  requireEventLog(settings);
  const headFile = `${eventsFile(settings)}-head`;
  const head = existsSync(headFile) ? readFileSync(headFile) : undefined;
  try {
    return await whileOpen(async own => {
      own('leader lock', { close: requireNoServer(settings) });
      const ports = { https: settings.httpsPort, crl: settings.crlPort };
      const { ctx } = own('data folder', await openContext({ ...settings, acceptOlder: tokens.length > 0 }, ports));
      const revocations = own('revocations', await startRevocations(ctx));
      return acceptStore({ ctx, alarms: createAlarms(ctx), revocations }, settings, checkpointPlaces(settings), tokens);
    });
  } catch (error) {
    // What the store was known to have had stays known until two people have accepted less.
    if (head !== undefined) writeFileSync(headFile, head);
    throw error;
  }
}
