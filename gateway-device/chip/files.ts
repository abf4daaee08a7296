import { closeSync, existsSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs';
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
