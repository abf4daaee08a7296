import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ownerThere, secretFileMode } from './secretFile.ts';

/** The name under which the next content is written before it takes the file's place. */
export const temporaryName = (file: string): string => `${file}.tmp`;

/** Puts `content` in the place of `file` so that after a crash at any moment either the old or the new content is there, whole:
 *  temporary file, fsync, rename, fsync of the folder. Resolves when the new content is durable. It is the folder's owner's. One caller at a time per file. */
export async function replaceFile(file: string, content: Uint8Array): Promise<void> {
  const temporary = temporaryName(file);
  await withHandle(temporary, 'w', async handle => {
    const owner = ownerThere(file);
    if (owner !== undefined) await handle.chown(owner.uid, owner.gid);
    await handle.writeFile(content);
    await handle.sync();
  });
  await rename(temporary, file);
  await withHandle(dirname(file), 'r', handle => handle.sync());
}

type Handle = Awaited<ReturnType<typeof open>>;

async function withHandle(path: string, flags: string, use: (handle: Handle) => Promise<void>): Promise<void> {
  const handle = await open(path, flags, secretFileMode);
  try {
    await use(handle);
  } finally {
    await handle.close();
  }
}
