import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { otpKindOf, otpKinds, otpMap, otpSlotCount } from '../../src/production/otpMap.ts';
import { uidFromChip, uidFromHex } from '../../src/production/uid.ts';
import { isUidAllowed } from '../../src/production/uidList.ts';
import { naivePath, naiveRoot } from '../merkle/naive.ts';
import { covers } from '../support/covers.ts';
import { fill } from './samples.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const uidOf = (n: number): Uint8Array => Uint8Array.of(n >> 8, n & 0xff, ...fill(7, 14));
const uids = (count: number) => Array.from({ length: count }, (_, n) => uidOf(n));

describe('UID list', () => {
  it('allows any chip without a list and only listed ones with a list (RULE-7, T7)', () => {
    covers('RULE-7', 'T7');
    expect(isUidAllowed(null, uidOf(1))).toBe(true);
    const rule = { uids: uids(10) };
    expect(uids(10).every(uid => isUidAllowed(rule, uid))).toBe(true);
    expect(isUidAllowed(rule, uidOf(10))).toBe(false);
  });

  it('allows each chip of a long list with its proof and no other (RULE-7, T7)', () => {
    covers('RULE-7', 'T7');
    const listed = uids(2500);
    const rule = { merkleRoot: naiveRoot(listed), count: 2500 };
    fc.assert(
      fc.property(fc.nat(2499), fc.nat(4000), (index, other) => {
        const proof = { index, path: naivePath(index, listed) };
        expect(isUidAllowed(rule, uidOf(index), proof)).toBe(true);
        expect(isUidAllowed(rule, uidOf(index))).toBe(false);
        if (other !== index) expect(isUidAllowed(rule, uidOf(other), proof)).toBe(false);
        expect(isUidAllowed(rule, uidOf(index), { ...proof, path: proof.path.slice(1) })).toBe(false);
        expect(isUidAllowed(rule, uidOf(index), { ...proof, index: proof.index + 4096 })).toBe(false);
      }),
      { numRuns: 10 },
    );
  });
});

describe('UID', () => {
  it('pads a 96-bit chip UID with zeros on the right', () => {
    const chip = fromHex('0102030405060708090a0b0c');
    expect(toHex(uidFromChip(chip))).toBe('0102030405060708090a0b0c00000000');
    expect(uidFromHex('0102030405060708090a0b0c')).toEqual(uidFromChip(chip));
    expect(uidFromHex(toHex(fill(0xab)))).toEqual(fill(0xab));
  });

  it('refuses other lengths and upper case', () => {
    for (const text of ['', 'ab', 'A'.repeat(32), 'g'.repeat(32), 'a'.repeat(33)])
      expect(() => uidFromHex(text)).toThrow(code('BAD_REQUEST'));
    expect(() => uidFromChip(fill(1, 13))).toThrow(code('BAD_REQUEST'));
  });
});

describe('OTP map', () => {
  it('gives every one of the eight slots one use', () => {
    const slots = Object.values(otpMap).map(entry => entry.slot);
    expect(slots).toEqual(Array.from({ length: otpSlotCount }, (_, slot) => slot));
    expect(slots.every(slot => otpKinds[otpKindOf(slot)!] > 0)).toBe(true);
    expect(otpKindOf(8)).toBeUndefined();
  });
});
