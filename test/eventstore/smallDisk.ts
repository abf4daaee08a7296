import { execFileSync } from 'node:child_process';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './support.ts';

/** Disks of their own, which needs the rights to mount them: elsewhere the tests with them are skipped, and say so. */

const disk = (folder: string): void => void execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', folder], { stdio: 'ignore' });
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

/** Of 6 MiB, empty; goes away with the test. */
export function smallDisk(): string {
  const folder = temporaryFolder();
  disk(folder);
  onTestFinished(() => unmount(folder));
  return folder;
}
