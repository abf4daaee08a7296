import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { StateSettings } from '../../config.ts';
import { authorityOf } from '../authority/authority.ts';
import type { Alarms } from '../base/alarms.ts';
import type { Context } from '../base/context.ts';
import { type MarkPlace, markPlace } from '../dataFolder/markPlace.ts';
import { logNoteKey } from '../proof/logKey.ts';
import { ensureMarkKey } from '../revocation/markFile.ts';
import { checkRevocationMark } from '../revocation/revocationMark.ts';
import type { Revocations } from '../revocation/revocations.ts';

/** Holds the store against what this machine remembers of it, before it serves anybody (T34). */

export type MarkedParts = { readonly ctx: Context; readonly alarms: Alarms; readonly revocations: Revocations };

/** @param wasServed the store has been served before: then a mark was there once
 *  @returns where the mark is kept
 *  @throws NusecError STORE_OLDER, STORE_DAMAGED, FOLDER_MISSING, FOLDER_REFUSED */
export async function requireMarkedStore(
  { ctx, alarms, revocations }: MarkedParts,
  settings: StateSettings,
  wasServed: boolean,
): Promise<MarkPlace> {
  const place = await markPlaceOf(ctx, settings);
  const files = [place.file, besideFile(settings)].filter((file, index, all) => all.indexOf(file) === index && existsSync(file));
  for (const file of files) await checkRevocationMark(ctx, revocations, file);
  const raise = async (code: string, detail: string): Promise<void> => {
    ctx.log.warn({ code, file: place.file }, detail);
    await alarms.raise({ code, subject: 'store', detail });
  };
  if (place.beside !== undefined)
    await raise(
      'MARK_BESIDE_STORE',
      `the revocation mark is in the data folder, where an old backup replaces it: ${place.beside}. Set NUSEC_STATE_DIR`,
    );
  if (files.length === 0 && wasServed)
    await raise(
      'MARK_MISSING',
      `there is no revocation mark at ${place.file}: nobody can tell whether this store is an old backup. It begins now`,
    );
  return place;
}

/** Where earlier versions kept it. */
export const besideFile = ({ dataDir }: StateSettings): string => join(dataDir, 'revocations.mark');

/** The first root names the project: it is there from the start and in every backup. */
export async function markPlaceOf(ctx: Context, settings: StateSettings): Promise<MarkPlace> {
  const { roots } = await authorityOf(ctx);
  return markPlace(settings, (roots[0]?.sha256 ?? 'none').slice(0, 32));
}

/** Keys that are to be in the very first backup of the keystore: what they have signed must be known again after a restore. */
export async function makeStandingKeys(ctx: Context): Promise<void> {
  await ensureMarkKey(ctx);
  await logNoteKey(ctx);
}
