import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/bytes.ts';
import { openKeystore, temporaryFolder } from './temporary.ts';

const child = join(import.meta.dirname, 'generateForEver.ts');
const runs = 8;

/** Lets the child generate for a while after its first acknowledgement, kills it, and gives its acknowledgements. */
async function generateAndKill(file: string, run: string, afterMs: number): Promise<readonly string[]> {
  const running = spawn(process.execPath, [child, file, run], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  const started = new Promise<void>(resolve => {
    running.stdout.on('data', data => {
      output += data;
      resolve();
    });
  });
  const closed = new Promise<NodeJS.Signals | null>(resolve => running.on('close', (_, signal) => resolve(signal)));
  await Promise.race([started, closed]);
  await sleep(afterMs);
  running.kill('SIGKILL');
  expect(await closed).toBe('SIGKILL');
  return output.split('\n').slice(0, -1);
}

describe('a keystore killed while generating', () => {
  it('has every acknowledged key, none of the destroyed, and is never damaged', async () => {
    const file = join(temporaryFolder(), 'keyset');
    const said: string[] = [];
    for (let run = 0; run < runs; run += 1) said.push(...(await generateAndKill(file, `run${run}`, 20 + run * 15)));
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
