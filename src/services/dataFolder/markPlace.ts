import { realpathSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { type StateSettings, stateFolder } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { makeFolder, requireFolder } from '../../folder.ts';

/** Where the revocation mark of a project is: outside its data folder, so that restoring the folder does not restore the mark. */

export type MarkPlace = {
  readonly file: string;
  /** Why it is in the data folder all the same, for people; a restore of the whole folder is not seen then. */
  readonly beside?: string;
};

/** @param projectId names the project in the state folder: the same in every backup of it
 *  @throws NusecError FOLDER_MISSING, FOLDER_REFUSED for a place that a setting names */
export function markPlace(settings: StateSettings, projectId: string, env: NodeJS.ProcessEnv = process.env): MarkPlace {
  const { dataDir, markFile, stateDir } = settings;
  if (markFile !== undefined) {
    requireFolder(dirname(markFile), 'it is for the revocation mark; is its disk there?');
    return { file: markFile, ...(isWithin(dataDir, dirname(markFile)) && { beside: `${markFile} is in the data folder` }) };
  }
  const inState = (folder: string): MarkPlace => {
    const own = join(folder, 'stores', projectId);
    makeFolder(own);
    return { file: join(own, 'revocations.mark') };
  };
  if (stateDir !== undefined) return inState(stateDir);
  const trouble: string[] = [];
  for (const folder of stateFolders(env)) {
    if (isWithin(dataDir, folder) || isWithin(folder, dataDir)) {
      trouble.push(`${folder} and the data folder are one in the other`);
      continue;
    }
    try {
      return inState(folder);
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
      trouble.push(error.message);
    }
  }
  return { file: join(dataDir, 'revocations.mark'), beside: trouble.join('; ') };
}

/** The state folder that systemd gives a service (StateDirectory=), then the user's. */
const stateFolders = (env: NodeJS.ProcessEnv): readonly string[] =>
  [...(env.STATE_DIRECTORY?.split(':').slice(0, 1) ?? []), stateFolder(env)].filter(Boolean);

function isWithin(outer: string, inner: string): boolean {
  const path = relative(real(outer), real(inner));
  return path === '' || !(path.startsWith('..') || path.startsWith('/'));
}

/** As far as it exists. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(real(parent), path.slice(parent.length));
  }
}
