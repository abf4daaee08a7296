import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NusecError } from '../../errors.ts';
import { placeOf, verifyStore } from '../../eventstore/verify.ts';
import { readCheckpoint } from '../../merkle/checkpoint.ts';
import { parseNote } from '../../merkle/note.ts';
import { damagesBeside, type FolderParts } from '../dataFolder/damage.ts';
import { checkpointFile } from '../proof/checkpointFiles.ts';

/** Looks at everything in a copy of a data folder: every event against its hash, the tree and the checkpoint, every blob against its name, the databases beside it. */

/** Databases beside the log. What the log says of them was written to them before. */
export const databaseNames = ['attestations.db', 'custody.db', 'custody-pkcs11.db', 'subjects.db'] as const;

/** What is looked at beside the events, in the folder of a server or in a copy. */
export const partsOf = (folder: string): FolderParts => ({
  store: join(folder, 'events.db'),
  blobs: join(folder, 'blobs'),
  databases: databaseNames.map(name => join(folder, name)),
});

/** @throws NusecError BACKUP_DAMAGED, naming the first thing that does not hold */
export async function checkCopy(folder: string): Promise<{ readonly events: number }> {
  const file = join(folder, 'events.db');
  const checkpoint = checkpointFile(folder);
  const signed = existsSync(checkpoint) ? [readCheckpoint(parseNote(readFileSync(checkpoint, 'utf8')).text)] : [];
  const verdict = verifyStore(file, signed);
  if (!verdict.ok) throw new NusecError('BACKUP_DAMAGED', `the event log: ${placeOf(verdict)} is not what was stored (${verdict.reason})`);
  for await (const damage of damagesBeside(partsOf(folder), 'integrity_check'))
    if (damage !== undefined) throw new NusecError('BACKUP_DAMAGED', `${damage.place}: ${damage.detail}`);
  return { events: verdict.events };
}
