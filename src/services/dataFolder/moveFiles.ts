import { existsSync, globSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Settings } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { objectOf } from '../../eventstore/blobs.ts';
import { openCustody } from '../../keystore/custody.ts';
import { maxKeysetBytes } from '../../keystore/keyset.ts';
import { objectCustody } from '../../keystore/objectCustody.ts';
import type { Keystore } from '../../keystore/port.ts';
import { pages } from '../../keystore/rotation.ts';
import { readSecretFile } from '../../keystore/secretFile.ts';
import { sharedKeyset } from '../../keystore/sharedKeyset.ts';
import type { ObjectStore } from '../../objects/port.ts';
import { custodyFile, keysetFile, softwareUnlock } from './keystore.ts';
import { shareSubject } from './sharedSubjects.ts';
import { openSubjects } from './subjectKeys.ts';

/** Puts what a data folder keeps beside the log into the object store. Done again it goes on where it was. The keyset comes last: a server starts on the
 *  object store only when it is there, and so everything else is. */

export type MovedFiles = { readonly blobs: number; readonly bootKeys: number; readonly people: number };

/** @param keystore of the data folder
 *  @throws NusecError KEY_EXISTS (the object store has another key of an id), KEYSTORE_DAMAGED (it is another project's), STORE_UNAVAILABLE */
export async function moveFiles(settings: Settings, keystore: Keystore, objects: ObjectStore): Promise<MovedFiles> {
  const moved = {
    blobs: await moveBlobs(settings, objects),
    bootKeys: await moveCustody(settings, objects),
    people: await movePeople(settings, keystore, objects),
  };
  if (settings.keystore === 'software') await moveKeyset(settings, objects);
  return moved;
}

async function moveBlobs({ dataDir }: Settings, objects: ObjectStore): Promise<number> {
  const files = globSync('blobs/??/*', { cwd: dataDir }).filter(file => /^[0-9a-f]{62}$/.test(basename(file)));
  for (const file of files) {
    const key = objectOf(basename(dirname(file)) + basename(file));
    if ((await objects.look(key)) === undefined) await objects.putFile(key, join(dataDir, file));
  }
  return files.length;
}

async function moveCustody(settings: Settings, objects: ObjectStore): Promise<number> {
  const file = custodyFile(settings);
  if (!existsSync(file)) return 0;
  const [from, to] = [openCustody(file), objectCustody(objects, settings.keystore)];
  let count = 0;
  try {
    for await (const page of pages(from)) {
      await to.takeOver(page);
      count += page.length;
    }
  } finally {
    await from.close();
  }
  return count;
}

async function movePeople({ dataDir }: Settings, keystore: Keystore, objects: ObjectStore): Promise<number> {
  const local = await openSubjects(join(dataDir, 'subjects.db'), keystore, () => new Date().toISOString());
  try {
    const rows = local.rows();
    for (const row of rows) await shareSubject(objects, row);
    return rows.length;
  } finally {
    local.close();
  }
}

async function moveKeyset(settings: Settings, objects: ObjectStore): Promise<void> {
  const file = keysetFile(settings);
  const shared = sharedKeyset(objects, file, softwareUnlock(settings));
  if (await shared.pull()) return;
  const content = readSecretFile(file, maxKeysetBytes);
  if (content === undefined || !(await shared.push(content)))
    throw new NusecError('STATE', 'another machine is moving a keyset into this object store');
}
