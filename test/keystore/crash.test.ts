import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/bytes.ts';
import { killAfterLines } from '../support/killAfterLines.ts';
import { openKeystore, temporaryFolder } from './temporary.ts';

const child = join(import.meta.dirname, 'generateForEver.ts');
const runs = 8;

describe('a keystore killed while generating', () => {
  it('has every acknowledged key, none of the destroyed, and is never damaged', async () => {
    const file = join(temporaryFolder(), 'keyset');
    const said: string[] = [];
    for (let run = 0; run < runs; run += 1) said.push(...(await killAfterLines(child, [file, `run${run}`], 5 + run * 3)));
    const idsAfter = (mark: string) => said.filter(line => line[0] === mark).map(line => line.slice(1));
    const [uncertain, gone] = [new Set(idsAfter('?')), idsAfter('-')];
    const held = idsAfter('+').filter(id => !uncertain.has(id));

    const keystore = await openKeystore(file, { create: false });
    expect(existsSync(`${file}.tmp`)).toBe(false);
    const keys = await keystore.list();
    const found = new Set(keys.map(each => each.id));
    expect(held.filter(id => !found.has(id))).toEqual([]);
    expect(gone.filter(id => found.has(id))).toEqual([]);
    expect(held.length).toBeGreaterThan(runs * 4);
    for (const { id, algorithm } of keys) {
      await (algorithm === 'AES-256' ? keystore.mac(id, utf8('x')) : keystore.sign(id, utf8('x')));
    }
  });
});
