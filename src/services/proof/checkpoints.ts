import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import { type Checkpoint, checkpointText } from '../../merkle/checkpoint.ts';
import { formatNote } from '../../merkle/note.ts';
import { verifyConsistency } from '../../merkle/proofs.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, nowIso } from '../base/context.ts';
import { writeToFolder } from './checkpointFiles.ts';
import { appendToHistory } from './checkpointHistory.ts';
import { openHeadMap } from './headMapFile.ts';
import { type CheckpointPlaces, readNewest } from './knownCheckpoints.ts';
import { logCertificates, logKeyId, logNoteKey } from './logKey.ts';

/** Signed checkpoints of the log (C2SP tlog-checkpoint) under a key of the keystore: what the log was at a time, for those who do not trust the
 *  file (T18, T34). The newest one is kept beside the store, at least every second while there are events. */

const everyMs = 1000;
/** Of its alarms. */
const subject = 'store';
/** The map is brought up for so long; a checkpoint does not wait longer for it and leaves its root out. */
const maxMapMs = 300;
/** So long a checkpoint waits for its copy in the witness folder. */
const maxCopyMs = 2000;

export type Checkpoints = {
  /** Signs one that covers every event stored before the call, unless there is one. @returns the note
   *  @throws NusecError CHECKPOINT_REFUSED when the log is not what it was at the last one: then nothing is signed any more */
  sign(): Promise<string>;
  /** Signs a last one. */
  close(): Promise<void>;
};

/** Signs checkpoints from here on; one process does it. A copy that cannot be written is an alarm and holds nothing up.
 *  @param offer called with each note, and with the last one of before */
export async function keepCheckpoints(
  parts: Parts,
  { file, witnessDir, headsFile }: CheckpointPlaces,
  offer: (note: string) => void = () => {},
): Promise<Checkpoints> {
  const { ctx, alarms } = parts;
  const key = await logNoteKey(ctx);
  // So that a holder of the log and a root can check the checkpoints.
  await logCertificates(ctx);
  let last = await readNewest(file, key);
  let note = last === undefined ? '' : readFileSync(file, 'utf8');
  if (note !== '') offer(note);
  const heads = headsFile === undefined ? undefined : openHeadMap(headsFile);
  const raise = (code: string, detail: string): Promise<void> =>
    alarms
      .raise({ code, subject, detail })
      .catch(error => ctx.log.error({ code, detail, error: String(error) }, 'the alarm was not recorded'));
  let copying: Promise<void> | undefined;
  /** A disk that does not answer holds up no checkpoint. */
  const copyTo = async (folder: string): Promise<void> => {
    const missed = (): Promise<void> => raise('WITNESS', `the checkpoint was not written to ${folder}`);
    if (copying !== undefined) return missed();
    copying = writeToFolder(folder, note)
      .then(() => alarms.ended({ code: 'WITNESS', subject }, `the checkpoint is in ${folder}`), missed)
      .finally(() => {
        copying = undefined;
      });
    await Promise.race([copying, sleep(maxCopyMs, undefined, { ref: false })]);
  };
  const signNewest = async (): Promise<string> => {
    const size = await ctx.store.head();
    if (size === last?.size) return note;
    const made = await heads?.advance(ctx.storedLog, size, maxMapMs);
    const next: Checkpoint = { origin: key.name, size, root: await ctx.store.tree.root(size), time: nowIso(ctx), ...made };
    if (last !== undefined) await requireConsistent(ctx, last, next);
    const text = checkpointText(next);
    const signature = await ctx.keystore.sign(logKeyId, utf8(text));
    note = formatNote({ text, signatures: [{ name: key.name, keyIdHex: key.keyIdHex, signature }] });
    await replaceFile(file, utf8(note));
    await appendToHistory(dirname(file), note).catch(error =>
      ctx.log.warn({ error: String(error) }, 'the checkpoint is not in the history'),
    );
    last = next;
    if (made !== undefined) heads?.keep(note, size);
    offer(note);
    if (witnessDir !== undefined) await copyTo(witnessDir);
    return note;
  };
  let running: Promise<unknown> = Promise.resolve();
  const sign = (): Promise<string> => {
    const signed = running.then(signNewest);
    running = signed.catch(() => undefined);
    return signed;
  };
  /** A log that is not what it was is for people to judge, whatever becomes of it. */
  const tellUnsigned = (error: unknown): Promise<void> =>
    raise(
      error instanceof NusecError && error.code === 'CHECKPOINT_REFUSED' ? error.code : 'CHECKPOINT',
      error instanceof Error ? error.message : 'not signed',
    );
  const signOrAlarm = async (): Promise<void> => {
    await sign().then(() => alarms.ended({ code: 'CHECKPOINT', subject }, 'it is signed'), tellUnsigned);
  };
  // An alarm is an event, too: what cannot be signed is not tried again before the next event.
  let tried = -1;
  const timer = setInterval(() => {
    if (ctx.store.seen() === tried) return;
    void signOrAlarm().finally(() => {
      tried = ctx.store.seen();
    });
  }, everyMs);
  timer.unref();
  return {
    sign,
    async close() {
      clearInterval(timer);
      await signOrAlarm();
      await heads?.close();
    },
  };
}

/** @throws NusecError CHECKPOINT_REFUSED */
async function requireConsistent(ctx: Context, last: Checkpoint, next: Checkpoint): Promise<void> {
  const holds =
    last.size <= next.size &&
    verifyConsistency(last.size, last.root, next.size, next.root, await ctx.store.tree.consistency(last.size, next.size));
  if (!holds)
    throw new NusecError('CHECKPOINT_REFUSED', `the log is not what it was at the checkpoint of ${last.time} over ${last.size} events`);
}
