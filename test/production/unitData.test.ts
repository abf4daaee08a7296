import { describe, expect, it } from 'vitest';
import { fromHex, toHex, utf8 } from '../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../src/cbor/schema.ts';
import { sha256Hex } from '../../src/digest.ts';
import {
  decodeUnitObject,
  finalUnitObject,
  reportOf,
  type UnitDataRule,
  unitDataRule,
  unitObjectAt,
  valuesOf,
} from '../../src/production/unitData.ts';

const rule: UnitDataRule = [
  {
    name: 'serial',
    kind: 'serial',
    destination: 'sealed',
    sources: [
      { firstNumber: 1, count: 2, from: 'SN-099' },
      { firstNumber: 3, count: 1, from: 'T-1' },
    ],
  },
  { name: 'mac', kind: 'mac', destination: 'plain', sources: [{ firstNumber: 1, count: 9, from: '02:00:5e:10:00:00' }] },
  {
    name: 'trim',
    kind: 'calibration',
    destination: 'sealed',
    sources: [{ firstNumber: 1, count: 2, values: [fromHex('0102'), fromHex('03')] }],
  },
  { name: 'sticker', kind: 'label', destination: 'report', sources: [{ firstNumber: 2, count: 1, values: [utf8('Box 7')] }] },
];

describe('unit data of a package', () => {
  it('is read as it was written, and has its limits', () => {
    expect(decodeAs(unitDataRule, encodeAs(unitDataRule, rule))).toEqual(rule);
    const [serial] = rule;
    const source = { firstNumber: 1, count: 2, values: [fromHex('01')] };
    expect(() => encodeAs(unitDataRule, [{ ...(serial as never as object), sources: [source] } as never])).toThrow(/as many values/);
    expect(() =>
      encodeAs(unitDataRule, [{ ...(serial as never as object), sources: [{ ...source, count: 1, from: 'S1' }] } as never]),
    ).toThrow();
  });

  it('gives each reservation its own values, and none beyond what it has', () => {
    const second = valuesOf(rule, 2);
    expect(reportOf(second)).toEqual([
      { name: 'serial', value: 'SN-100' },
      { name: 'mac', value: '02:00:5e:10:00:01' },
      { name: 'trim', value: sha256Hex(fromHex('03')) },
      { name: 'sticker', value: 'Box 7' },
    ]);
    expect(() => valuesOf(rule, 3)).toThrow(/no trim for reservation 3/);
    expect(() => valuesOf(rule, 1)).toThrow(/no sticker for reservation 1/);
  });

  it('is written before the lock as far as it is plain, then with what is sealed; labels never', () => {
    const values = valuesOf(rule, 2);
    const names = (step: 'plain' | 'sealed') => decodeUnitObject(unitObjectAt(values, step) as Uint8Array).map(({ name }) => name);
    expect(names('plain')).toEqual(['mac']);
    expect(names('sealed')).toEqual(['serial', 'mac', 'trim']);
    expect(toHex(finalUnitObject(values) as Uint8Array)).toBe(toHex(unitObjectAt(values, 'sealed') as Uint8Array));
    expect(finalUnitObject(values.filter(({ destination }) => destination === 'report'))).toBeUndefined();
    expect(() => decodeUnitObject(utf8('no cbor'))).toThrow();
  });

  it('has this form in a target', () => {
    const values = valuesOf(rule, 2).filter(({ name }) => name === 'mac');
    expect(toHex(finalUnitObject(values) as Uint8Array)).toBe('81a301636d61630202034602005e100001');
  });
});
