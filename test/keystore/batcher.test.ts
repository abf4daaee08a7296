import { describe, expect, it } from 'vitest';
import { NusecError } from '../../src/errors.ts';
import { createBatcher } from '../../src/keystore/batcher.ts';

describe('group commit', () => {
  it('commits the work of one tick together, one group at a time', async () => {
    const groups: number[][] = [];
    let underway = 0;
    const batcher = createBatcher<number, number>(async items => {
      expect(++underway).toBe(1);
      groups.push([...items]);
      await new Promise(resolve => setImmediate(resolve));
      underway -= 1;
      return items.map(item => item * 2);
    });
    const first = [1, 2, 3].map(item => batcher.add(item));
    await new Promise(resolve => setImmediate(resolve));
    const second = [4, 5].map(item => batcher.add(item));
    expect(await Promise.all([...first, ...second])).toEqual([2, 4, 6, 8, 10]);
    expect(groups).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
    await batcher.idle();
    expect(await batcher.add(6)).toBe(12);
  });

  it('refuses one item without the others, and a whole group when its commit fails', async () => {
    const batcher = createBatcher<number, number>(async items => {
      if (items.includes(13)) throw new Error('disk full');
      return items.map(item => (item < 0 ? new NusecError('KEY_EXISTS', 'negative') : item));
    });
    const [good, refused] = await Promise.allSettled([batcher.add(1), batcher.add(-1)]);
    expect([good, refused]).toMatchObject([{ value: 1 }, { reason: { code: 'KEY_EXISTS' } }]);
    const failed = await Promise.allSettled([batcher.add(1), batcher.add(13)]);
    for (const each of failed) expect(each).toMatchObject({ status: 'rejected', reason: { message: 'disk full' } });
    expect(await batcher.add(2)).toBe(2);
  });

  it('has an end to its queue', async () => {
    const batcher = createBatcher<number, number>(async items => items);
    const outcomes = await Promise.allSettled(Array.from({ length: 100_001 }, (_, item) => batcher.add(item)));
    expect(outcomes.filter(each => each.status === 'rejected')).toMatchObject([{ reason: { code: 'RATE_LIMITED' } }]);
  });
});
