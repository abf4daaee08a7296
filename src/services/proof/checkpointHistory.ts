import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Every checkpoint of the last time, one behind the other, so that a change which shows in no tile is narrowed down to what came between two of
 *  them. JSON lines, each a signed note; `log.checkpoints` and, when that is full, the one before it. */

/** Of each of the two files: some 10 000 checkpoints, three hours of work without a pause. */
const maxFileBytes = 4 * 1024 * 1024;

const historyFiles = (folder: string): readonly [newer: string, older: string] => [
  join(folder, 'log.checkpoints'),
  join(folder, 'log.checkpoints.1'),
];

/** Not waited for on the disk: the newest checkpoint is, in its own file. */
export async function appendToHistory(folder: string, note: string): Promise<void> {
  const [newer, older] = historyFiles(folder);
  if (existsSync(newer) && statSync(newer).size > maxFileBytes) renameSync(newer, older);
  await appendFile(newer, `${JSON.stringify(note)}\n`, { mode: 0o600 });
}

/** The signed notes in a folder, the oldest first. A line that was cut off is left out. */
export function historyIn(folder: string): readonly { readonly file: string; readonly note: string }[] {
  return historyFiles(folder)
    .toReversed()
    .filter(existsSync)
    .flatMap(file =>
      readFileSync(file, 'utf8')
        .split('\n')
        .flatMap(noteIn)
        .map(note => ({ file, note })),
    );
}

function noteIn(line: string): readonly string[] {
  try {
    const note: unknown = line === '' ? undefined : JSON.parse(line);
    return typeof note === 'string' ? [note] : [];
  } catch {
    return [];
  }
}

/** For a store that is taken up again from before: its checkpoints are others from there on. */
export function putHistoryAside(folder: string, size: number): void {
  for (const file of historyFiles(folder)) if (existsSync(file)) renameSync(file, `${file}-${size}`);
}
