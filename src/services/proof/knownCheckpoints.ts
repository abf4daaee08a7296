import { existsSync, readFileSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { NusecError } from '../../errors.ts';
import { type Checkpoint, readCheckpoint } from '../../merkle/checkpoint.ts';
import { type NoteKey, parseNote, verifiedBy } from '../../merkle/note.ts';
import type { Parts } from '../base/alarms.ts';
import { checkpointsIn, cosignedIn } from './checkpointFiles.ts';
import { historyIn, putHistoryAside } from './checkpointHistory.ts';
import { logNoteKey } from './logKey.ts';
import { cosignedFolder } from './witness.ts';

/** Holds a store against the checkpoints that are known of it, when it is taken up (T18, T34). */

/** Where the newest checkpoint is: beside the store, and outside the reach of a restore of the store. */
export type CheckpointPlaces = {
  readonly file: string;
  readonly witnessDir?: string;
  /** Map of stream heads; without it checkpoints do not name its root. */
  readonly headsFile?: string;
};

/** Holds the store against the newest checkpoint, those that a witness folder has and those that witnesses have cosigned, before anything of it is used.
 *  @param acceptOlder an operator's word that the older store is meant: an alarm, and the checkpoints that do not hold are put aside
 *  @returns those that hold
 *  @throws NusecError STORE_OLDER (the store ends before it), STORE_DAMAGED (the events are others, or the checkpoint is not of this log) */
export async function requireCheckpoints(
  parts: Parts,
  { file, witnessDir }: CheckpointPlaces,
  acceptOlder: boolean,
): Promise<readonly Checkpoint[]> {
  const cosigned = cosignedIn(cosignedFolder(dirname(file)));
  const copies = [...(witnessDir === undefined ? [] : checkpointsIn(witnessDir)), ...cosigned].map(({ file: copy }) => copy);
  const held: Checkpoint[] = [];
  const key = await logNoteKey(parts.ctx);
  for (const each of [file, ...copies]) held.push(...(await requireThis(parts, each, await readNewest(each, key), acceptOlder)));
  if (!existsSync(file)) held.push(...(await requireThis(parts, file, newestInHistory(dirname(file), key), acceptOlder)));
  return held;
}

/** Without the newest checkpoint in its own file, the history of checkpoints still names it. */
function newestInHistory(folder: string, key: NoteKey): Checkpoint | undefined {
  for (const { note } of historyIn(folder).toReversed()) {
    const checkpoint = signedBy(note, key);
    if (checkpoint !== undefined) return checkpoint;
  }
  return undefined;
}

async function requireThis(
  { ctx, alarms }: Parts,
  file: string,
  known: Checkpoint | undefined,
  acceptOlder: boolean,
): Promise<readonly Checkpoint[]> {
  if (known === undefined) return [];
  const head = await ctx.store.head();
  if (head >= known.size && (await ctx.store.tree.root(known.size)) === known.root) return [known];
  const detail =
    head < known.size
      ? `the event store has ${head} events; a checkpoint of ${known.time} covers ${known.size}${revocationsIn(known)}: it is an old backup, or its end was cut off`
      : `the first ${known.size} events are not those of the checkpoint of ${known.time}: they were changed; nusec log verify names the first`;
  if (!acceptOlder) throw new NusecError(head < known.size ? 'STORE_OLDER' : 'STORE_DAMAGED', detail);
  if (existsSync(file)) renameSync(file, `${file}-${known.size}`);
  putHistoryAside(dirname(file), known.size);
  await alarms.raise({ code: 'OLDER_STORE_ACCEPTED', subject: 'store', detail });
  return [];
}

const revocationsIn = ({ revocations }: Checkpoint): string => (revocations === undefined ? '' : ` and ${revocations.count} revocations`);

/** @returns undefined when there is no such file @throws NusecError STORE_DAMAGED unless this project signed it */
export async function readNewest(file: string, key: NoteKey): Promise<Checkpoint | undefined> {
  if (!existsSync(file)) return undefined;
  const checkpoint = signedBy(readFileSync(file, 'utf8'), key);
  if (checkpoint !== undefined) return checkpoint;
  throw new NusecError('STORE_DAMAGED', `${file} is not a checkpoint that this project signed`);
}

/** @returns undefined when it is no checkpoint, or not signed with this key */
export function signedBy(text: string, key: NoteKey): Checkpoint | undefined {
  try {
    const note = parseNote(text);
    return verifiedBy(note, [key]).length > 0 ? readCheckpoint(note.text) : undefined;
  } catch (error) {
    if (error instanceof NusecError) return undefined;
    throw error;
  }
}
