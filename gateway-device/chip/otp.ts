import { equalBytes } from '../../src/bytes.ts';
import { maxSecurityCounter, otpSlotBytes, otpSlotCount } from '../../src/production/otpMap.ts';
import { type NvStorage, type Power, PowerCut, steadyPower } from './flash.ts';

/** One-time-programmable memory of the virtual MCU: every bit goes from 0 to 1 once and stays. Slots of keys and hashes, two unary
 *  counters, and single flags (locks, life cycle). Layout: slots, then one lock byte, counters, flags. */

export type OtpCounter = keyof typeof maxSecurityCounter;

export type OtpSlotState = 'blank' | 'partial' | 'burned';

/** `already`: the same value was there. `used`: another one was. `verify`: read back differently. */
export type OtpBurn = 'burned' | 'already' | 'used' | 'verify';

export type Otp = {
  readonly slot: (slot: number) => OtpSlotState;
  /** @returns 32 bytes; all zero while blank */
  readonly read: (slot: number) => Uint8Array;
  /** Burns, reads back, then locks. A slot left half-burned by a power cut takes only the value that its bits belong to. */
  readonly burn: (slot: number, value: Uint8Array) => OtpBurn;
  /** Bit n = slot n is burned. */
  readonly mask: () => number;
  readonly counter: (which: OtpCounter) => number;
  /** @returns false when the counter has not that many bits; a lower value changes nothing */
  readonly raiseCounter: (which: OtpCounter, value: number) => boolean;
  readonly flag: (bit: number) => boolean;
  readonly setFlag: (bit: number) => void;
};

const otpFlagCount = 64;

const lockOffset = otpSlotCount * otpSlotBytes;
const counterOffset = { application: lockOffset + 1, bootloader: lockOffset + 33 } as const satisfies Record<OtpCounter, number>;
const flagOffset = lockOffset + 41;
const totalBytes = flagOffset + otpFlagCount / 8;

/** @param storage  a new one reads as blank @param isDefect  bytes of the memory that take no bit @throws RangeError for a slot, value or flag that does not exist */
export function openOtp(storage: NvStorage, power: Power = steadyPower, isDefect: (offset: number) => boolean = () => false): Otp {
  const content = new Uint8Array(totalBytes);
  const kept = storage.load();
  if (kept) content.set(kept.subarray(0, totalBytes));
  else storage.write(0, content);

  /** Sets bits; a cut sets those of the first half only. */
  const setBits = (offset: number, bits: Uint8Array): void => {
    const whole = power.holds();
    const burned = bits
      .subarray(0, whole ? bits.length : bits.length >> 1)
      .map((byte, index) => (isDefect(offset + index) ? 0 : byte) | (content[offset + index] ?? 0));
    content.set(burned, offset);
    storage.write(offset, burned);
    if (!whole) throw new PowerCut();
  };
  const setBit = (offset: number, bit: number): void => setBits(offset + (bit >> 3), Uint8Array.of(1 << (bit & 7)));
  const bit = (offset: number, index: number): boolean => (((content[offset + (index >> 3)] ?? 0) >> (index & 7)) & 1) === 1;
  const isLocked = (slot: number): boolean => bit(lockOffset, slot);
  const read = (slot: number): Uint8Array => {
    if (!Number.isInteger(slot) || slot < 0 || slot >= otpSlotCount) throw new RangeError(`no OTP slot ${slot}`);
    return content.slice(slot * otpSlotBytes, (slot + 1) * otpSlotBytes);
  };
  const counter = (which: OtpCounter): number => {
    let value = 0;
    while (value < maxSecurityCounter[which] && bit(counterOffset[which], value)) value += 1;
    return value;
  };

  return {
    read,
    mask: () => content[lockOffset] ?? 0,
    slot: slot => (isLocked(slot) ? 'burned' : read(slot).some(byte => byte !== 0) ? 'partial' : 'blank'),
    burn: (slot, value) => {
      const old = read(slot);
      if (value.length !== otpSlotBytes) throw new RangeError('an OTP slot takes 32 bytes');
      if (isLocked(slot)) return equalBytes(old, value) ? 'already' : 'used';
      if (old.some((byte, index) => (byte & ~(value[index] ?? 0)) !== 0)) return 'used';
      setBits(slot * otpSlotBytes, value);
      if (!equalBytes(read(slot), value)) return 'verify';
      setBit(lockOffset, slot);
      return 'burned';
    },
    counter,
    raiseCounter: (which, value) => {
      if (value > maxSecurityCounter[which]) return false;
      for (let index = counter(which); index < value; index += 1) setBit(counterOffset[which], index);
      return true;
    },
    flag: index => bit(flagOffset, checkFlag(index)),
    setFlag: index => setBit(flagOffset, checkFlag(index)),
  };
}

function checkFlag(index: number): number {
  if (!Number.isInteger(index) || index < 0 || index >= otpFlagCount) throw new RangeError(`no OTP flag ${index}`);
  return index;
}
