import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { utf8 } from '../../bytes.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import { readCheckpoint } from '../../merkle/checkpoint.ts';
import { parseNote } from '../../merkle/note.ts';
import { appendToHistory } from './checkpointHistory.ts';

/** Checkpoints as files. In the data folder there is the newest one; a folder of a witness has the newest one and the last one of each day. */

export const checkpointFile = (folder: string): string => join(folder, 'log.checkpoint');

const dayFile = (folder: string, day: string): string => join(folder, `log-${day}.checkpoint`);
const fileName = /^log(-\d{4}-\d{2}-\d{2})?\.checkpoint$/;
/** Ten years of days. */
const maxFiles = 4000;

export type CheckpointFile = { readonly file: string; readonly note: string };

/** Every checkpoint in a folder, the oldest first; none when there is no such folder. */
export const checkpointsIn = (folder: string): readonly CheckpointFile[] => notesIn(folder, fileName);

/** Those that witnesses have cosigned, by key id. */
export const cosignedIn = (folder: string): readonly CheckpointFile[] => notesIn(folder, /^[0-9a-f]{8}\.checkpoint$/);

function notesIn(folder: string, kind: RegExp): readonly CheckpointFile[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter(name => kind.test(name));
  return names
    .sort()
    .slice(-maxFiles)
    .map(name => ({ file: join(folder, name), note: readFileSync(join(folder, name), 'utf8') }));
}

/** Puts the newest checkpoint into a witness folder; what it replaces is kept when it was the last one of its day. */
export async function writeToFolder(folder: string, note: string): Promise<void> {
  const file = checkpointFile(folder);
  const before = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  const day = before === undefined ? undefined : dayOf(before);
  if (before !== undefined && day !== undefined && day !== dayOf(note)) await replaceFile(dayFile(folder, day), utf8(before));
  await replaceFile(file, utf8(note));
  await appendToHistory(folder, note);
}

/** @returns undefined when it is no checkpoint, or names no time */
function dayOf(note: string): string | undefined {
  try {
    return readCheckpoint(parseNote(note).text).time?.match(/^\d{4}-\d{2}-\d{2}/)?.[0];
  } catch {
    return undefined;
  }
}
