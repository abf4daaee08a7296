import { dirname, join } from 'node:path';
import { utf8 } from '../../bytes.ts';
import { holdAlone } from '../../fileLock.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import type { Context } from '../base/context.ts';
import { appendToHistory } from './checkpointHistory.ts';
import { openHeadMap } from './headMapFile.ts';
import { type CheckpointPlaces, readNewest, signedBy } from './knownCheckpoints.ts';
import { logNoteKey } from './logKey.ts';

/** Checkpoints of the log at machines that do not lead: the leader sends each to all processes, the newest one also to those that are linked later, and one
 *  process of each other machine keeps it in its data folder, after it has held the copy of the log against it. So every machine answers with the newest one, proves what is in the log, and whoever leads
 *  next continues from it. */

type Notices = {
  announce(topic: string, note: string): void;
  onNotice(topic: string, listener: (note: string) => void): void;
};
const topic = 'checkpoint';
/** As long as the leader waits for the map. */
const maxMapMs = 300;

/** @returns `tell`, for the leader, and what ends the keeping */
export function followCheckpoints(ctx: Context, { file, headsFile }: CheckpointPlaces, notices: Notices) {
  let lock: ReturnType<typeof holdAlone>;
  let running: Promise<void> = Promise.resolve();
  let isOpen = true;
  const heads = headsFile === undefined ? undefined : openHeadMap(headsFile);
  const keep = async (note: string): Promise<void> => {
    const key = await logNoteKey(ctx);
    const [next, known] = [signedBy(note, key), await readNewest(file, key)];
    // The processes of the leader's own folder have it before they are told.
    if (!isOpen || next === undefined || (known?.size ?? 0) >= next.size) return;
    lock ??= holdAlone(join(dirname(file), 'checkpoints'));
    if (lock === undefined || (await ctx.store.head()) < next.size) return;
    if ((await ctx.store.tree.root(next.size)) !== next.root)
      return ctx.log.error({ size: next.size }, 'the copy of the log here is not what the leader has signed: nusec log verify');
    await replaceFile(file, utf8(note));
    await appendToHistory(dirname(file), note);
    const made = await heads?.advance(ctx.storedLog, next.size, maxMapMs);
    if (made !== undefined && made.heads === next.heads) heads?.keep(note, next.size);
  };
  notices.onNotice(topic, note => {
    running = running.then(() => keep(note)).catch(error => ctx.log.warn({ error: String(error) }, 'a checkpoint was not kept'));
  });
  return {
    tell: (note: string): void => notices.announce(topic, note),
    async close(): Promise<void> {
      isOpen = false;
      await running;
      await heads?.close();
      lock?.release();
    },
  };
}
