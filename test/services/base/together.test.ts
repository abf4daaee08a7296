import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { writingTogether } from '../../../src/services/base/together.ts';

/** Writing together: one go for what comes within a moment, and everybody waits for it. */

const moment = 5;
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function recording(write?: () => void) {
  const goes: (readonly number[])[] = [];
  const together = writingTogether<number>(items => {
    write?.();
    goes.push(items);
  });
  return { goes, together };
}

it('writes what comes within a moment in one go, and what comes later in the next one', async () => {
  const { goes, together } = recording();
  const first = [together.add(1), together.add(2)];
  expect(goes).toEqual([]);
  await vi.advanceTimersByTimeAsync(moment);
  await Promise.all(first);
  const later = together.add(3);
  await vi.advanceTimersByTimeAsync(moment);
  await later;
  expect(goes).toEqual([[1, 2], [3]]);
});

it('refuses all of a go that fails, and goes on', async () => {
  let isFull = true;
  const { goes, together } = recording(() => {
    if (isFull) throw new Error('the disk is full');
  });
  const refused = Promise.allSettled([together.add(1), together.add(2)]);
  await vi.advanceTimersByTimeAsync(moment);
  expect((await refused).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  isFull = false;
  const later = together.add(3);
  await vi.advanceTimersByTimeAsync(moment);
  await later;
  expect(goes).toEqual([[3]]);
});

it('waits no longer for others when it is told to write, or has as many as go at once', async () => {
  const { goes, together } = recording();
  const one = together.add(0);
  together.flush();
  await one;
  const many = Array.from({ length: 300 }, (_, i) => together.add(i));
  expect(goes.map(({ length }) => length)).toEqual([1, 256]);
  await vi.advanceTimersByTimeAsync(moment);
  await Promise.all(many);
  expect(goes.map(({ length }) => length)).toEqual([1, 256, 44]);
});
