import { expect, it } from 'vitest';
import { concat } from '../src/bytes.ts';
import { joinInKept } from '../src/keptMemory.ts';

const parts = (fill: number) => [new Uint8Array(30_000).fill(fill), new Uint8Array(0), new Uint8Array(20).fill(fill + 1)];

it('uses memory again that was written, and none that may still be read', () => {
  const [first, second] = [joinInKept(parts(1)), joinInKept(parts(3))];
  expect([first.bytes, second.bytes]).toEqual([concat(...parts(1)), concat(...parts(3))]);
  expect(first.bytes.buffer).not.toBe(second.bytes.buffer);
  first.release();
  second.release(new Error('cut'));
  const third = joinInKept(parts(5));
  expect(third.bytes.buffer).toBe(first.bytes.buffer);
  const fourth = joinInKept(parts(7));
  expect([first.bytes.buffer, second.bytes.buffer]).not.toContain(fourth.bytes.buffer);
  expect([third.bytes, fourth.bytes]).toEqual([concat(...parts(5)), concat(...parts(7))]);
});

it('keeps a limited amount, and gives the rest back without the collector (R94)', () => {
  const joined = Array.from({ length: 400 }, (_, i) => joinInKept(parts(i & 127)));
  for (const { release } of joined) release();
  const givenBack = joined.filter(({ bytes }) => bytes.buffer.byteLength === 0);
  expect(givenBack.length).toBeGreaterThanOrEqual(400 - 256);
  expect(givenBack.length).toBeLessThan(400);
});

it('joins what is longer, too', () => {
  const long = [new Uint8Array(60_000).fill(1), new Uint8Array(60_000).fill(2)];
  expect(joinInKept(long).bytes).toEqual(concat(...long));
});
