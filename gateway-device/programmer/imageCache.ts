import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, toHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { replaceFile } from '../link/replaceFile.ts';

/** Image bodies, fetched once and checked by hash each time they are used. Those of a job are gone when it ends (RULE-19, R82); those of upgrades, which no
 *  job needs, make room for others, the oldest first. Bodies carry no signature: nothing boots from one alone. */
export type ImageCache = {
  /** From here, or fetched and kept. @throws NusecError IMAGE_REFUSED when what was fetched has another hash, and when jobs need all that are kept */
  readonly body: (bodySha256: Uint8Array, fetch: () => Promise<Uint8Array>) => Promise<Uint8Array>;
  readonly erase: (bodySha256Hex: string) => void;
  readonly list: () => readonly string[];
};

/** Two per job: bootloader and application. */
const maxCachedImages = 16;

/** @param needed SHA-256 of the images of jobs that have not ended, hex */
export function openImageCache(folder: string, needed: () => ReadonlySet<string>): ImageCache {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const list = (): readonly string[] => readdirSync(folder).filter(name => /^[0-9a-f]{64}$/.test(name));
  const keptSinceMs = (name: string): number => statSync(join(folder, name)).mtimeMs;
  const makeRoom = (): void => {
    const kept = list();
    const ofJobs = needed();
    const others = kept.filter(name => !ofJobs.has(name)).sort((a, b) => keptSinceMs(a) - keptSinceMs(b));
    const over = kept.length + 1 - maxCachedImages;
    if (over > others.length) throw new NusecError('IMAGE_REFUSED', `at most ${maxCachedImages} images are kept`);
    for (const name of others.slice(0, Math.max(0, over))) rmSync(join(folder, name), { force: true });
  };
  return {
    list,
    erase: bodySha256Hex => rmSync(join(folder, bodySha256Hex), { force: true }),
    body: async (bodySha256, fetch) => {
      const path = join(folder, toHex(bodySha256));
      const kept = existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
      if (kept && equalBytes(sha256(kept), bodySha256)) return kept;
      const fetched = await fetch();
      if (!equalBytes(sha256(fetched), bodySha256)) throw new NusecError('IMAGE_REFUSED', 'the image is not the one that was announced');
      makeRoom();
      replaceFile(path, fetched);
      return fetched;
    },
  };
}
