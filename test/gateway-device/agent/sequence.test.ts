import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openSequence } from '../../../gateway-device/agent/sequence.ts';
import { codeOf } from '../../pki/support.ts';

/** The numbers of a gateway's verdicts. */

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-sequence-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('rises over restarts, whatever the clock says at the next one (T20)', () => {
  const numbers: number[] = [];
  for (const clock of [1_700_000_000_000, 5, 0, 1_700_000_000_000]) {
    const next = openSequence(folder, clock);
    for (let i = 0; i < 3; i++) numbers.push(next());
  }
  expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  expect(new Set(numbers).size).toBe(numbers.length);
});

it('gives out more numbers than it takes from the file at once', () => {
  const next = openSequence(folder, 0);
  const numbers = Array.from({ length: 2500 }, next);
  expect(numbers).toEqual(Array.from({ length: 2500 }, (_, i) => i + 1));
  expect(openSequence(folder, 0)()).toBeGreaterThan(2500);
});

it('begins where the clock is in a folder that has no counter yet', () => {
  expect(openSequence(folder, 1_700_000_000_000)()).toBe(1_700_000_000_001);
});

it('is ahead of what was signed also when the folder was put back from an older copy (T20)', () => {
  const copied = openSequence(folder, 1_700_000_000_000)();
  const copy = readFileSync(join(folder, 'sequence'));
  const next = openSequence(folder, 1_700_000_100_000);
  const signed = Array.from({ length: 3000 }, next);
  writeFileSync(join(folder, 'sequence'), copy);
  expect(openSequence(folder, 1_700_000_200_000)()).toBeGreaterThan(signed.at(-1) ?? copied);
});

it.each(['', 'x', '-1', '1e9', '9'.repeat(20)])('refuses a file with %j instead of a number', async text => {
  writeFileSync(join(folder, 'sequence'), text);
  expect(await codeOf(async () => openSequence(folder, 1))).toBe('STORE_DAMAGED');
});
