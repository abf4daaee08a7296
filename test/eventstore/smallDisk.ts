import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './support.ts';

/** Disks of their own, which needs the rights to mount them: elsewhere the tests with them are skipped, and say so. */

const disk = (folder: string, mebibytes = 6): void =>
  void execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', folder], { stdio: 'ignore' });
const unmount = (folder: string): void => void execFileSync('umount', ['-l', folder], { stdio: 'ignore' });

export function canMount(): boolean {
  try {
    const folder = temporaryFolder();
    disk(folder);
    unmount(folder);
    return true;
  } catch {
    return false;
  }
}

/** Empty; goes away with the test. */
export function smallDisk(mebibytes?: number): string {
  const folder = temporaryFolder();
  disk(folder, mebibytes);
  onTestFinished(() => unmount(folder));
  return folder;
}

/** Takes all of the room that is left. @returns what gives it back */
export function fillDisk(folder: string): () => void {
  const ballast = join(folder, 'ballast');
  writeFileSync(ballast, Buffer.alloc(0));
  for (let size = 1_048_576; size >= 4096; ) {
    try {
      writeFileSync(ballast, Buffer.alloc(size), { flag: 'a' });
    } catch {
      size = Math.floor(size / 2);
    }
  }
  return () => rmSync(ballast);
}
