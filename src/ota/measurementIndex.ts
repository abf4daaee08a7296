import { concat } from '../bytes.ts';
import type { Version } from '../domain/version.ts';
import { writeVersion } from './version.ts';

/** What a device attests (DSP0274 §10.11), one index for each: the device measures, the server derives reference values of the same form
 *  from a release. BL2 and application: the MCUboot image hash (32 bytes, digest). */
export const measurementIndex = { bl2: 1, application: 2, secureVersion: 3, hardwareState: 4, imageState: 5, otpCounter: 6 } as const;

/** Raw value of index 3: version of the application as in the image header (8 bytes LE) ‖ its security counter u32 LE. */
export function secureVersionValue(version: Version, securityCounter: number): Uint8Array {
  const counter = new Uint8Array(4);
  new DataView(counter.buffer).setUint32(0, securityCounter, true);
  return concat(writeVersion(version), counter);
}

const imageStates = { confirmed: 0, testing: 1 } as const;
export type ImageState = keyof typeof imageStates;

/** Raw value of index 5, one byte: whether the application has been confirmed, or runs for the first time and may be reverted. */
export const imageStateValue = (state: ImageState): Uint8Array => Uint8Array.of(imageStates[state]);

/** @returns undefined for a value that is none */
export const readImageState = (value: Uint8Array): ImageState | undefined =>
  value.length !== 1 ? undefined : (Object.keys(imageStates) as ImageState[]).find(state => imageStates[state] === value[0]);

const otpCounterBytes = 4;

/** Raw value of index 6: the security counter of the application in OTP, u32 LE. The bootloader raises it when it starts a confirmed
 *  image, and nothing lowers it; so it is the one that counts, and not the one in the header of an image. */
export function otpCounterValue(counter: number): Uint8Array {
  const value = new Uint8Array(otpCounterBytes);
  new DataView(value.buffer).setUint32(0, counter, true);
  return value;
}

/** @returns undefined for a value that is none */
export const readOtpCounter = (value: Uint8Array): number | undefined =>
  value.length !== otpCounterBytes ? undefined : new DataView(value.buffer, value.byteOffset, value.length).getUint32(0, true);

const lifeCycles = { manufacture: 0, deployed: 1, rma: 2, decommissioned: 3 } as const;
const debugStates = { open: 0, locked: 1, unlocked: 2 } as const;

export type HardwareState = {
  /** Bit n = OTP slot n is burned. */
  readonly otpMask: number;
  readonly lifeCycle: keyof typeof lifeCycles;
  readonly debugState: keyof typeof debugStates;
  /** SHA-256 of the OTP slots that hold public values (keys and hashes, not secrets), 32 bytes each, in order; 32 bytes. */
  readonly otpSha256: Uint8Array;
};

/** What index 4 is the SHA-256 of: OTP mask u8 ‖ life cycle u8 ‖ debug state u8 ‖ SHA-256 over the public OTP slots. */
export const hardwareStateValue = ({ otpMask, lifeCycle, debugState, otpSha256 }: HardwareState): Uint8Array =>
  concat(Uint8Array.of(otpMask, lifeCycles[lifeCycle], debugStates[debugState]), otpSha256);
