import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eraseRegion, flashLayout, openFlash, PowerCut, steadyPower } from '../../../gateway-device/chip/flash.ts';
import { openOtp } from '../../../gateway-device/chip/otp.ts';
import { covers } from '../../support/covers.ts';
import { memoryStorage, powerFor } from './memory.ts';

const size = { sectorBytes: 64, totalBytes: 256 };
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

describe('flash', () => {
  it('clears bits until its sector is erased', () => {
    fc.assert(
      fc.property(bytes(16), bytes(16), (first, second) => {
        const flash = openFlash(size, memoryStorage());
        flash.program(70, first);
        flash.program(70, second);
        expect(flash.read(70, 16)).toEqual(first.map((byte, at) => byte & (second[at] ?? 0)));
        eraseRegion(flash, { offset: 64, bytes: 64 });
        expect(flash.read(64, 64)).toEqual(new Uint8Array(64).fill(0xff));
      }),
    );
  });

  it('keeps its content in the storage, a half-done operation included', () => {
    const storage = memoryStorage();
    expect(() => openFlash(size, storage, powerFor(0)).program(0, Uint8Array.of(1, 2, 3, 4))).toThrow(PowerCut);
    const flash = openFlash(size, memoryStorage(storage.snapshot()));
    expect(flash.read(0, 5)).toEqual(Uint8Array.of(1, 2, 0xff, 0xff, 0xff));
    const failing = openFlash(size, storage, powerFor(1));
    failing.program(0, Uint8Array.of(0, 0, 0, 0));
    expect(() => failing.eraseSector(0)).toThrow(PowerCut);
    expect(openFlash(size, storage).read(0, 4)).toEqual(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(openFlash(size, storage).read(32, 1)).toEqual(Uint8Array.of(0xff));
  });

  it('refuses addresses outside and erasing off a sector', () => {
    const flash = openFlash(size, memoryStorage());
    expect(() => flash.read(250, 7)).toThrow(RangeError);
    expect(() => flash.program(-1, new Uint8Array(1))).toThrow(RangeError);
    expect(() => flash.eraseSector(10)).toThrow(RangeError);
  });

  it('is laid out without overlaps, with room to log a whole swap', () => {
    const layout = flashLayout();
    const regions = [layout.bl2, layout.primary, layout.secondary, layout.scratch, layout.status, layout.data];
    regions.forEach((region, at) => {
      expect(region.offset).toBe(at === 0 ? 0 : (regions[at - 1]?.offset ?? 0) + (regions[at - 1]?.bytes ?? 0));
      expect(region.bytes % layout.sectorBytes).toBe(0);
    });
    expect(layout.status.bytes).toBeGreaterThanOrEqual(512 + 3 * 8 * (layout.primary.bytes / layout.sectorBytes));
  });
});

describe('OTP', () => {
  const value = new Uint8Array(32).fill(0x5a);

  it('burns a slot once: the same value again is fine, another one is refused (I5)', () => {
    covers('I5');
    const storage = memoryStorage();
    const otp = openOtp(storage);
    expect(otp.slot(2)).toBe('blank');
    expect(otp.burn(2, value)).toBe('burned');
    const later = openOtp(storage);
    expect([later.slot(2), later.mask(), later.burn(2, value)]).toEqual(['burned', 4, 'already']);
    expect(later.burn(2, new Uint8Array(32).fill(0xff))).toBe('used');
    expect(later.read(2)).toEqual(value);
  });

  it('shows a half-burned slot, which takes only the value it was begun with', () => {
    const storage = memoryStorage();
    expect(() => openOtp(storage, powerFor(0)).burn(0, value)).toThrow(PowerCut);
    const otp = openOtp(storage);
    expect(otp.slot(0)).toBe('partial');
    expect(otp.burn(0, new Uint8Array(32))).toBe('used');
    expect(otp.slot(0)).toBe('partial');
    expect(otp.burn(0, value)).toBe('burned');
  });

  it('reads back what it burned and does not lock a slot that took it wrong', () => {
    const otp = openOtp(memoryStorage(), steadyPower, offset => offset === 65);
    expect(otp.burn(2, value)).toBe('verify');
    expect([otp.slot(2), otp.mask()]).toEqual(['partial', 0]);
  });

  it('can hold a value of all zeros', () => {
    const otp = openOtp(memoryStorage());
    expect(otp.burn(7, new Uint8Array(32))).toBe('burned');
    expect(otp.slot(7)).toBe('burned');
  });

  it('counts up only, to 255 and 63, whatever is asked and wherever power goes (T12)', () => {
    covers('T12');
    const ask = fc.record({ which: fc.constantFrom('application', 'bootloader'), value: fc.nat(300), operations: fc.nat(80) });
    fc.assert(
      fc.property(fc.array(ask, { maxLength: 12 }), asks => {
        const storage = memoryStorage();
        for (const { which, value: wanted, operations } of asks) {
          const before = openOtp(storage).counter(which);
          const max = which === 'application' ? 255 : 63;
          try {
            const raised = openOtp(storage, powerFor(operations)).raiseCounter(which, wanted);
            expect(raised).toBe(wanted <= max);
            expect(openOtp(storage).counter(which)).toBe(raised ? Math.max(before, wanted) : before);
          } catch (error) {
            expect(error).toBeInstanceOf(PowerCut);
          }
          expect(openOtp(storage).counter(which)).toBeGreaterThanOrEqual(before);
        }
      }),
    );
  });

  it('keeps flags for ever', () => {
    const storage = memoryStorage();
    openOtp(storage).setFlag(9);
    const otp = openOtp(storage);
    expect([otp.flag(8), otp.flag(9), otp.mask(), otp.counter('application')]).toEqual([false, true, 0, 0]);
    expect(() => otp.setFlag(64)).toThrow(RangeError);
    expect(() => otp.read(8)).toThrow(RangeError);
    expect(() => otp.burn(1, new Uint8Array(31))).toThrow(RangeError);
  });
});
