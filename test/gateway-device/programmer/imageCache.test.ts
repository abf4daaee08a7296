import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openImageCache } from '../../../gateway-device/programmer/imageCache.ts';
import { toHex } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { temporary } from './oemServer.ts';

const folder = mkdtempSync(join(temporary, 'nusec-images-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const most = 16;
const bodies = Array.from({ length: 3 * most }, (_, i) => Uint8Array.of(i, 1, 2, 3));
const nameOf = (body: Uint8Array): string => toHex(sha256(body));

it('makes room for the next upgrade, and never at the cost of a job (R82, R87)', async () => {
  covers('R82', 'R87');
  const ofJob = new Set<string>();
  const cache = openImageCache(folder, () => ofJob);
  const [jobs, upgrades] = [bodies.slice(0, most), bodies.slice(most)];
  let fetched = 0;
  const take = async (body: Uint8Array): Promise<void> => {
    const read = await cache.body(sha256(body), async () => {
      fetched += 1;
      return body;
    });
    expect(read).toEqual(body);
    utimesSync(join(folder, nameOf(body)), fetched, fetched);
  };
  await take(jobs[0] as Uint8Array);
  ofJob.add(nameOf(jobs[0] as Uint8Array));
  for (const body of upgrades) await take(body);
  expect(cache.list().toSorted()).toEqual([jobs[0] as Uint8Array, ...upgrades.slice(1 - most)].map(nameOf).toSorted());

  const before = fetched;
  await take(jobs[0] as Uint8Array);
  await take(upgrades.at(-1) as Uint8Array);
  expect(fetched).toBe(before);

  for (const body of jobs.slice(1)) {
    await take(body);
    ofJob.add(nameOf(body));
  }
  expect(cache.list().toSorted()).toEqual(jobs.map(nameOf).toSorted());
  expect(await codeOf(() => take(upgrades[0] as Uint8Array))).toBe('IMAGE_REFUSED');
});
