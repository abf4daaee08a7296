import { readSettings } from '../config.ts';
import { moveLog, moveLogOut } from '../services/dataFolder/moveLog.ts';
import { requirePasswordless } from './eventStoreOption.ts';
import { print } from './output.ts';

export type MoveOptions = {
  readonly data: string;
  readonly eventStore?: string;
  readonly objectStore?: string;
  readonly out?: boolean;
  readonly databaseLost?: boolean;
  readonly json?: boolean;
};

/** `nusec log move`: on the server's own machine, while no server runs. */
export async function moveLogHere(options: MoveOptions): Promise<void> {
  const { data, eventStore, objectStore } = options;
  const settings = readSettings(data, {
    ...process.env,
    ...(eventStore !== undefined && { KURRENTDB_URL: requirePasswordless(eventStore) }),
    ...(objectStore !== undefined && { NUSEC_OBJECT_STORE: objectStore }),
  });
  if (options.out === true) {
    const { events } = await moveLogOut(settings, options.databaseLost === true);
    return print(
      options,
      { events },
      `${events} events are in ${data} again.\n\nNext: nusec server --data ${data}, without the address of KurrentDB`,
    );
  }
  const moved = await moveLog(settings);
  print(
    options,
    moved,
    [
      `${moved.events} events are in KurrentDB, and ${data} has their copy.`,
      ...(moved.blobs === undefined
        ? []
        : [`${moved.blobs} blobs, ${moved.bootKeys} boot keys, the keys of ${moved.people} people and sites are in the object store.`]),
      '',
      `Next: nusec server --data ${data} --event-store …${moved.blobs === undefined ? '' : ' --object-store …'}`,
    ].join('\n'),
  );
}
