import { closeSync, constants, existsSync, fdatasync, fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';

/** How far the store had come, kept beside it: after every synchronisation the position and hash of the newest event on the disk are written down, before
 *  it is acknowledged. When the store is opened with less, events that were acknowledged are missing: a write-ahead log that was cut, changed or
 *  removed looks like one that ended there. */

/** Processes write each to a slot of their own, so that none takes back what another has written. */
const slots = 64;
const slotBytes = 128;
/** The marks themselves reach the disk this often. A power cut loses younger ones, and takes nothing from the log, which was there first. */
const syncEveryMs = 1000;

const fdatasyncLater = promisify(fdatasync);

export type Mark = { readonly position: number; readonly hash: string };

export type HeadMark = {
  /** The newest mark of all processes; undefined when there is none. */
  read(): Mark | undefined;
  /** Only what is on the disk. */
  write(mark: Mark): void;
  /** Forgets all marks: the store is meant to have less. */
  clear(): void;
  close(): Promise<void>;
};

/** @param file made when it is missing */
export function openHeadMark(file: string): HeadMark {
  const fd = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600);
  const offset = (process.pid % slots) * slotBytes;
  // All of it is there from the start: later a full disk is no hindrance.
  if (fstatSync(fd).size < slots * slotBytes) writeSync(fd, Buffer.alloc(slots * slotBytes), 0, slots * slotBytes, 0);
  let isSynced = true;
  let syncing: Promise<void> = Promise.resolve();
  const sync = (): Promise<void> => {
    if (isSynced) return syncing;
    isSynced = true;
    // A mark that is lost with the power makes the next check weaker, not wrong.
    syncing = syncing.then(() => fdatasyncLater(fd)).catch(() => undefined);
    return syncing;
  };
  const timer = setInterval(sync, syncEveryMs);
  timer.unref();
  return {
    read() {
      const bytes = Buffer.alloc(slots * slotBytes);
      readSync(fd, bytes, 0, bytes.length, 0);
      return newestOf(bytes);
    },
    write(mark) {
      writeSync(fd, format(mark), offset, 'latin1');
      isSynced = false;
    },
    clear() {
      writeSync(fd, Buffer.alloc(slots * slotBytes), 0, slots * slotBytes, 0);
    },
    async close() {
      clearInterval(timer);
      await sync();
      closeSync(fd);
    },
  };
}

/** Only looks. @returns undefined when there is no mark, or no file */
export const readHeadMark = (file: string): Mark | undefined => (existsSync(file) ? newestOf(readFileSync(file)) : undefined);

function newestOf(bytes: Buffer): Mark | undefined {
  const marks = Array.from({ length: slots }, (_, slot) => parse(bytes.toString('latin1', slot * slotBytes, (slot + 1) * slotBytes)));
  return marks.reduce((newest, mark) => (mark !== undefined && mark.position > (newest?.position ?? 0) ? mark : newest), undefined);
}

function format({ position, hash }: Mark): string {
  const text = `${position} ${hash}`;
  return `${text} ${crc32(text)}`.padEnd(slotBytes - 1).concat('\n');
}

/** A slot that was never written, or was being written when the power went, says nothing. */
function parse(slot: string): Mark | undefined {
  const [, text, position, hash, check] = slot.match(/^((\d+) ([0-9a-f]{64})) (\d+) *\n$/) ?? [];
  return text !== undefined && crc32(text) === Number(check) ? { position: Number(position), hash: hash as string } : undefined;
}
