import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIdSource, uuidv7 } from '../../src/eventstore/ids.ts';

describe('uuidv7', () => {
  it('is the example of RFC 9562, appendix A.6', () => {
    const random = Uint8Array.from([0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f]);
    expect(uuidv7(0x017f22e279b0, random)).toBe('017f22e2-79b0-7cc3-98c4-dc0c0c07398f');
  });

  it('has version 7 and variant 2, and sorts by time', () => {
    const bytes = fc.uint8Array({ minLength: 10, maxLength: 10 });
    const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });
    fc.assert(
      fc.property(time, time, bytes, bytes, (t1, t2, r1, r2) => {
        const [a, b] = [uuidv7(t1, r1), uuidv7(t2, r2)];
        expect(a).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        if (t1 !== t2) expect(a < b).toBe(t1 < t2);
      }),
    );
  });

  it('a source gives as many different ids as it is asked for', () => {
    const newId = createIdSource(() => 1_700_000_000_000);
    expect(new Set(Array.from({ length: 5000 }, newId)).size).toBe(5000);
  });
});
