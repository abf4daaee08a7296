import { existsSync, readFileSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { utf8 } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import { type Checkpoint, checkpointText, readCheckpoint } from '../../merkle/checkpoint.ts';
import { formatNote, type NoteKey, parseNote, verifiedBy } from '../../merkle/note.ts';
import { verifyConsistency } from '../../merkle/proofs.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, nowIso } from '../base/context.ts';
import { checkpointsIn, writeToFolder } from './checkpointFiles.ts';
import { appendToHistory, putHistoryAside } from './checkpointHistory.ts';
import { openHeadMap } from './headMapFile.ts';
import { logCertificates, logKeyId, logNoteKey } from './logKey.ts';

/** Signed checkpoints of the log (C2SP tlog-checkpoint) under a key of the keystore: what the log was at a time, for whoever does not trust the
 *  file (T18, T34). The newest one is kept beside the store, at least every second while there are events. */

export type CheckpointParts = { readonly ctx: Context; readonly alarms: Alarms };

const everyMs = 1000;
/** The map is brought up for so long; a checkpoint does not wait longer for it and leaves its root out. */
const maxMapMs = 300;

/** Where the newest checkpoint is: beside the store, and where whoever puts the store back does not reach. */
export type CheckpointPlaces = {
  readonly file: string;
  readonly witnessDir?: string;
  /** Map of stream heads; without it checkpoints do not name its root. */
  readonly headsFile?: string;
};

/** Holds the store against the newest checkpoint, and those that a witness folder has, before anything of it is used.
 *  @param acceptOlder an operator's word that the older store is meant: an alarm, and the checkpoints that do not hold are put aside
 *  @returns those that hold
 *  @throws NusecError STORE_OLDER (the store ends before it), STORE_DAMAGED (the events are others, or the checkpoint is not of this log) */
export async function requireCheckpoints(
  parts: CheckpointParts,
  { file, witnessDir }: CheckpointPlaces,
  acceptOlder: boolean,
): Promise<readonly Checkpoint[]> {
  const copies = witnessDir === undefined ? [] : checkpointsIn(witnessDir).map(({ file: copy }) => copy);
  const held: Checkpoint[] = [];
  for (const each of [file, ...copies]) held.push(...(await requireThis(parts, each, acceptOlder)));
  return held;
}

async function requireThis({ ctx, alarms }: CheckpointParts, file: string, acceptOlder: boolean): Promise<readonly Checkpoint[]> {
  const known = await readNewest(file, await logNoteKey(ctx));
  if (known === undefined) return [];
  const head = ctx.store.head();
  if (head >= known.size && (await ctx.store.tree.root(known.size)) === known.root) return [known];
  const detail =
    head < known.size
      ? `the event store has ${head} events; a checkpoint of ${known.time} covers ${known.size}${revocationsIn(known)}: it is an old backup, or its end was cut off`
      : `the first ${known.size} events are not those of the checkpoint of ${known.time}: they were changed; nusec log verify names the first`;
  if (!acceptOlder) throw new NusecError(head < known.size ? 'STORE_OLDER' : 'STORE_DAMAGED', detail);
  renameSync(file, `${file}-${known.size}`);
  putHistoryAside(dirname(file), known.size);
  await alarms.raise({ code: 'OLDER_STORE_ACCEPTED', subject: 'store', detail });
  return [];
}

const revocationsIn = ({ revocations }: Checkpoint): string => (revocations === undefined ? '' : ` and ${revocations.count} revocations`);

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
  parts: CheckpointParts,
  { file, witnessDir, headsFile }: CheckpointPlaces,
  offer: (note: string) => void = () => {},
): Promise<Checkpoints> {
  const { ctx, alarms } = parts;
  const key = await logNoteKey(ctx);
  // So that whoever has the log and a root can check the checkpoints.
  await logCertificates(ctx);
  let last = await readNewest(file, key);
  let note = last === undefined ? '' : readFileSync(file, 'utf8');
  if (note !== '') offer(note);
  const heads = headsFile === undefined ? undefined : openHeadMap(headsFile);
  const signNewest = async (): Promise<string> => {
    const size = ctx.store.head();
    if (size === last?.size) return note;
    const made = await heads?.advance(ctx.store, size, maxMapMs);
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
    if (witnessDir !== undefined) {
      const raise = () => alarms.raise({ code: 'WITNESS', subject: 'store', detail: `the checkpoint was not written to ${witnessDir}` });
      await writeToFolder(witnessDir, note).catch(raise);
    }
    return note;
  };
  let running: Promise<unknown> = Promise.resolve();
  const sign = (): Promise<string> => {
    const signed = running.then(signNewest);
    running = signed.catch(() => undefined);
    return signed;
  };
  const signOrAlarm = async (): Promise<void> => {
    await sign().catch(error =>
      alarms.raise({ code: 'CHECKPOINT', subject: 'store', detail: error instanceof Error ? error.message : 'not signed' }),
    );
  };
  // An alarm is an event, too: what cannot be signed is not tried again before the next event.
  let tried = -1;
  const timer = setInterval(() => {
    if (ctx.store.head() === tried) return;
    void signOrAlarm().finally(() => {
      tried = ctx.store.head();
    });
  }, everyMs);
  timer.unref();
  return {
    sign,
    async close() {
      clearInterval(timer);
      await signOrAlarm();
      heads?.close();
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

async function readNewest(file: string, key: NoteKey): Promise<Checkpoint | undefined> {
  if (!existsSync(file)) return undefined;
  try {
    const note = parseNote(readFileSync(file, 'utf8'));
    if (verifiedBy(note, [key]).length > 0) return readCheckpoint(note.text);
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
  }
  throw new NusecError('STORE_DAMAGED', `${file} is not a checkpoint that this project signed`);
}
