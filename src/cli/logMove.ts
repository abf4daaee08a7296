import { readSettings } from '../config.ts';
import { moveLog } from '../services/dataFolder/moveLog.ts';
import { requirePasswordless } from './eventStoreOption.ts';
import { print } from './output.ts';

export type MoveOptions = { readonly data: string; readonly eventStore?: string; readonly json?: boolean };

/** `nusec log move`: on the server's own machine, while no server runs. */
export async function moveLogHere(options: MoveOptions): Promise<void> {
  const { data, eventStore } = options;
  const settings = readSettings(data, {
    ...process.env,
    ...(eventStore !== undefined && { KURRENTDB_URL: requirePasswordless(eventStore) }),
  });
  const moved = await moveLog(settings);
  print(
    options,
    moved,
    `${moved.events} events are in KurrentDB, and ${data} has their copy.\n\nNext: nusec server --data ${data} --event-store …`,
  );
}
