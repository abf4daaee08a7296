import fc from 'fast-check';
import { expect, it } from 'vitest';
import { recentIds } from '../../src/eventstore/recentIds.ts';

it('never calls a stored id new, and fresh ids that sort above all others never stored', () => {
  const id = fc.integer({ min: 0, max: 500 }).map(n => String(n).padStart(4, '0'));
  fc.assert(
    fc.property(fc.array(id, { maxLength: 200 }), fc.integer({ min: 2, max: 20 }), (added, limit) => {
      const ids = recentIds(limit);
      for (const next of added) {
        expect(ids.mayBeStored('9999')).toBe(false);
        ids.add(next);
      }
      for (const next of added) expect(ids.mayBeStored(next)).toBe(true);
    }),
  );
});

it('an id above the forgotten ones is new', () => {
  const ids = recentIds();
  ids.forget('c');
  expect([ids.mayBeStored('b'), ids.mayBeStored('c'), ids.mayBeStored('d')]).toEqual([true, true, false]);
});
