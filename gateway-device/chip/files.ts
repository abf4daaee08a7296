import { closeSync, existsSync, fdatasyncSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { NvStorage } from './flash.ts';

/** Keeps the memories of a virtual chip between runs. A write survives `kill -9` as soon as it returns, and a power cut of the PC after `sync`. */

export type FileStorage = NvStorage & { readonly sync: () => void; readonly close: () => void };

/** A file as large as the memory. @param isDurable  true: every write is on the disk before it returns (OTP) */
export function fileStorage(path: string, isDurable = false): FileStorage {
  const isNew = !existsSync(path);
  const file = openSync(path, isNew ? 'w+' : 'r+', 0o600);
  let isDirty = false;
  const sync = (): void => {
    if (isDirty) fdatasyncSync(file);
    isDirty = false;
  };
  return {
    load: () => {
      const content = new Uint8Array(readFileSync(path));
      return content.length === 0 ? undefined : content;
    },
    write: (offset, bytes) => {
      writeSync(file, bytes, 0, bytes.length, offset);
      isDirty = true;
      if (isDurable) sync();
    },
    sync,
    close: () => {
      sync();
      closeSync(file);
    },
  };
}

/** Replaces a file as a whole: after a cut it holds the old or the new content. Readable by its owner only. */
export function replaceFile(path: string, content: Uint8Array): void {
  const next = `${path}.new`;
  const file = openSync(next, 'w', 0o600);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(next, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
