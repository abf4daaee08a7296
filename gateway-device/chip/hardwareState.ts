import { createHash } from 'node:crypto';
import { hardwareStateValue } from '../../src/ota/measurementIndex.ts';
import { type ConfigWords, configWordsIn } from '../../src/production/configWords.ts';
import { publicOtp } from '../../src/production/otpMap.ts';
import type { Chip } from './chip.ts';

/** SHA-256 of what is burned into the public slots of OTP. */
export const otpHash = (chip: Chip): Uint8Array => new Uint8Array(createHash('sha256').update(publicOtp(chip.otp.read)).digest());

/** Measurement 4 of a chip: its OTP content, its stage of life, and whether the debug port is closed. */
export const hardwareState = (chip: Chip): Uint8Array =>
  hardwareStateValue({ otpMask: chip.otp.mask(), lifeCycle: chip.lifeCycle(), debugState: chip.debugState(), otpSha256: otpHash(chip) });

/** Where the data store keeps what is written to the configuration words. */
export const configName = 'configWords';

/** The words that somebody wrote; undefined for a chip as it comes from its vendor. */
export function configWordsOf({ data }: Chip): ConfigWords | undefined {
  const written = data.get(configName);
  return written && configWordsIn(written);
}
