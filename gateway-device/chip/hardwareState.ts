import { createHash } from 'node:crypto';
import { concat } from '../../src/bytes.ts';
import { hardwareStateValue } from '../../src/ota/measurementIndex.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import type { Chip } from './chip.ts';

/** Measurement 4 of a chip: what is burned, where in its life it stands, and whether the debug port is closed. */
export function hardwareState(chip: Chip): Uint8Array {
  const publicSlots = Object.values(otpMap).filter(({ kind }) => kind !== 'secret');
  const otpSha256 = createHash('sha256')
    .update(concat(...publicSlots.map(({ slot }) => chip.otp.read(slot))))
    .digest();
  return hardwareStateValue({ otpMask: chip.otp.mask(), lifeCycle: chip.lifeCycle(), debugState: chip.debugState(), otpSha256 });
}
