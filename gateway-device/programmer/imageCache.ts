import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, toHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { replaceFile } from '../chip/files.ts';

/** Image bodies, fetched once per job and checked by hash each time they are used; gone when the job ends (RULE-19, R82). Bodies carry no
 *  signature: nothing boots from one alone. */
export type ImageCache = {
  /** From here, or fetched and kept. @throws NusecError IMAGE_REFUSED when what was fetched has another hash */
  readonly body: (bodySha256: Uint8Array, fetch: () => Promise<Uint8Array>) => Promise<Uint8Array>;
  readonly erase: (bodySha256Hex: string) => void;
  readonly list: () => readonly string[];
};

/** Two per job: bootloader and application. */
const maxCachedImages = 16;

export function openImageCache(folder: string): ImageCache {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const list = (): readonly string[] => readdirSync(folder).filter(name => /^[0-9a-f]{64}$/.test(name));
  return {
    list,
    erase: bodySha256Hex => rmSync(join(folder, bodySha256Hex), { force: true }),
    body: async (bodySha256, fetch) => {
      const path = join(folder, toHex(bodySha256));
      const kept = existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
      if (kept && equalBytes(sha256(kept), bodySha256)) return kept;
      const fetched = await fetch();
      if (!equalBytes(sha256(fetched), bodySha256)) throw new NusecError('IMAGE_REFUSED', 'the image is not the one that was announced');
      if (list().length >= maxCachedImages) throw new NusecError('IMAGE_REFUSED', `at most ${maxCachedImages} images are kept`);
      replaceFile(path, fetched);
      return fetched;
    },
  };
}
