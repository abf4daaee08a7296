import { concat } from '../bytes.ts';

/** OTP of the virtual target: 8 slots of 32 bytes; every bit goes from 0 to 1 once. Bit n of an OTP mask = slot n is burned. */

export const otpSlotCount = 8;
export const otpSlotBytes = 32;

/** Version of this map, as in the production package (key 19). */
export const otpMapVersion = 1;

/** Security counters live in OTP too and end where its bits end. */
export const maxSecurityCounter = { application: 255, bootloader: 63 } as const;

/** What a slot may hold, by its number in the OTP command. */
export const otpKinds = { keyCoordinate: 1, hash: 2, secret: 3, spare: 4 } as const;
export type OtpKind = keyof typeof otpKinds;

/** Slot by slot: X and Y of SecureBoot_PUB_A in full (the boot ROM compares the key itself), hashes of everything else.
 *  The application key's hash is SHA-256 over its 91-byte SubjectPublicKeyInfo (MCUboot `HW_KEY`). */
export const otpMap = {
  bootKeyX: { slot: 0, kind: 'keyCoordinate' },
  bootKeyY: { slot: 1, kind: 'keyCoordinate' },
  applicationKeyHash: { slot: 2, kind: 'hash' },
  rootCaHash: { slot: 3, kind: 'hash' },
  icaHash: { slot: 4, kind: 'hash' },
  deviceSecret: { slot: 5, kind: 'secret' },
  successorRootHash: { slot: 6, kind: 'hash' },
  spare: { slot: 7, kind: 'spare' },
} as const satisfies Record<string, { slot: number; kind: OtpKind }>;

/** What a device signs of its OTP: the slots that are no secret, one after the other, as they are. SHA-256 of it is in receipts and measurements.
 *  @param read a slot; undefined for one that is not burned */
export const publicOtp = (read: (slot: number) => Uint8Array | undefined): Uint8Array =>
  concat(
    ...Object.values(otpMap)
      .filter(({ kind }) => kind !== 'secret')
      .map(({ slot }) => read(slot) ?? new Uint8Array(otpSlotBytes)),
  );

/** The kind that belongs into a slot, or undefined when there is no such slot. */
export const otpKindOf = (slot: number): OtpKind | undefined => Object.values(otpMap).find(entry => entry.slot === slot)?.kind;
