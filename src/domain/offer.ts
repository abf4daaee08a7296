import type { ErrorCode } from '../errors.ts';
import { compareVersions } from './version.ts';

/** May this firmware be offered to this device? One pure function for server, gateway, programmer and virtual device (I9, RULE-11).
 *  The order of the checks is the contract: the first that fails gives the code. */

/** A larger step of the security counter needs an approval: a mistyped counter would burn the line's budget. */
export const maxCounterJump = 16;

export type Product = { readonly line: string; readonly vendorUuid: string; readonly classUuid: string };

/** Firmware as the registry or the device itself names it. */
export type InstalledFirmware = { readonly version: string; readonly securityCounter: number; readonly imageHash: string };

export type OfferDevice = Product & {
  /** Whether its state allows an upgrade at all. */
  readonly able: boolean;
  readonly firmware: InstalledFirmware;
  /** The counter in OTP, where it has been measured. */
  readonly provenCounter?: number | undefined;
  /** It can decrypt what is encrypted for its line. */
  readonly decrypts?: boolean | undefined;
};

export type OfferRelease = Product & {
  readonly status: string;
  readonly version: string;
  readonly securityCounter: number;
  /** Hash of the plain and of the encrypted variant: both are reference values. */
  readonly imageHashes: readonly string[];
  /** It has an encrypted variant. */
  readonly isEncrypted?: boolean;
};

export type OfferRules = {
  /** Lowest counter the line still accepts. */
  readonly rollbackFloor: number;
  readonly counterMaximum: number;
  /** Approvers of a downgrade at equal counter; the caller has verified the signed permit. */
  readonly downgradePermit?: { readonly approvers: readonly string[] };
  readonly counterJumpApproved?: boolean;
  /** Largest step without approval; `maxCounterJump` when not given. */
  readonly counterStep?: number;
  /** The line accepts encrypted images only. */
  readonly encryptedOnly?: boolean;
};

export type OfferRefusal = Extract<
  ErrorCode,
  | 'WRONG_PRODUCT'
  | 'DEVICE_STATE'
  | 'RELEASE_STATE'
  | 'ROLLBACK'
  | 'ALREADY'
  | 'DOWNGRADE'
  | 'COUNTER_EXHAUSTED'
  | 'COUNTER_JUMP'
  | 'ENCRYPTION_REQUIRED'
>;

/** @returns `undefined` when the offer may be made, else why not
 *  @throws NusecError BAD_REQUEST when a version cannot be read */
export function judgeOffer(device: OfferDevice, release: OfferRelease, rules: OfferRules): OfferRefusal | undefined {
  if (!sameProduct(device, release)) return 'WRONG_PRODUCT';
  if (!device.able) return 'DEVICE_STATE';
  if (release.status !== 'PUBLISHED') return 'RELEASE_STATE';
  const floor = Math.max(device.firmware.securityCounter, device.provenCounter ?? 0, rules.rollbackFloor);
  if (release.securityCounter < floor) return 'ROLLBACK';
  if (compareVersions(release.version, device.firmware.version) <= 0) {
    if (release.imageHashes.includes(device.firmware.imageHash)) return 'ALREADY';
    if (!permitsDowngrade(device.firmware, release, rules)) return 'DOWNGRADE';
  }
  if (release.securityCounter > rules.counterMaximum) return 'COUNTER_EXHAUSTED';
  const jump = release.securityCounter - device.firmware.securityCounter;
  if (jump > (rules.counterStep ?? maxCounterJump) && rules.counterJumpApproved !== true) return 'COUNTER_JUMP';
  return rules.encryptedOnly === true && !(release.isEncrypted && device.decrypts) ? 'ENCRYPTION_REQUIRED' : undefined;
}

function sameProduct(a: Product, b: Product): boolean {
  return a.line === b.line && a.vendorUuid === b.vendorUuid && a.classUuid === b.classUuid;
}

function permitsDowngrade(installed: InstalledFirmware, release: OfferRelease, rules: OfferRules): boolean {
  const approvers = new Set(rules.downgradePermit?.approvers);
  return approvers.size >= 2 && release.securityCounter === installed.securityCounter;
}

/** What the device says it runs against what the registry knows. `lower` (an older version or a lower counter than was ever proven)
 *  means a rollback or a clone; the caller records CloneSuspected. An unknown report gives the registry's firmware, unverified. */
export function judgeReport(
  registry: InstalledFirmware,
  reported: InstalledFirmware | undefined,
): { readonly firmware: InstalledFirmware; readonly verified: boolean; readonly lower: boolean } {
  if (reported === undefined) return { firmware: registry, verified: false, lower: false };
  const lower =
    reported.securityCounter < registry.securityCounter ||
    (reported.securityCounter === registry.securityCounter && compareVersions(reported.version, registry.version) < 0);
  return { firmware: reported, verified: true, lower };
}
