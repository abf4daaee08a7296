import { concat } from '../../src/bytes.ts';
import { p256Spki } from '../../src/cose/publicKey.ts';
import { sha256 } from '../../src/digest.ts';
import type { Version } from '../../src/domain/version.ts';
import { contentKey, type Decryption, isEncrypted } from '../../src/ota/decrypt.ts';
import { dependenciesOf } from '../../src/ota/image.ts';
import { measurementIndex } from '../../src/ota/measurementIndex.ts';
import { type BootPolicy, type ImageInfo, type Verdict, type VerdictReason, verifyImage } from '../../src/ota/verify.ts';
import { compareVersion } from '../../src/ota/version.ts';
import { maxSecurityCounter, otpMap } from '../../src/production/otpMap.ts';
import type { Flash, FlashLayout, Region } from './flash.ts';
import type { Otp } from './otp.ts';
import { isConfirmed, type SwapType, swapTypeOf } from './slotTrailer.ts';
import { beginSwap, overwritePrimary, readSwap, runSwap, type SlotEncryption, type SwapHead, scrambleSlot } from './swap.ts';

/** The boot chain of the virtual MCU. The boot ROM judges BL2 by the whole public key in OTP 0 and 1; BL2 executes upgrades as MCUboot
 *  does (test, confirm, revert) and judges the application by the key hash in OTP 2; counters only rise.
 *  Its verdicts are those of `verifyImage`. Power may go at any moment: the next boot finishes what was begun. */

export type BootConfig = {
  /** `swap` keeps the old image to return to; `overwrite` has no way back and raises the counter immediately. */
  readonly mode: 'swap' | 'overwrite';
  /** 16 bytes each, of the product line; the application must carry them (T13). */
  readonly vendorUuid?: Uint8Array;
  readonly classUuid?: Uint8Array;
  /** 16 bytes: this device; an image bound to another one is refused. */
  readonly uid?: Uint8Array;
  readonly decryption?: Decryption;
};

export type BootDevice = { readonly flash: Flash; readonly layout: FlashLayout; readonly otp: Otp; readonly config: BootConfig };

export type BootRefusal = VerdictReason | 'boot-key-not-burned' | 'application-key-not-burned' | 'dependency-not-met';

/** What runs: its version, image hash (32 bytes) and security counter. */
export type BootedImage = { readonly version: Version; readonly imageHash: Uint8Array; readonly securityCounter: number };

export type BootResult = {
  /** `dead`: BL2 itself is not valid. `bl2`: BL2 waits for an application. `app`: the application runs. */
  readonly stage: 'dead' | 'bl2' | 'app';
  /** Why it went no further. */
  readonly reason?: BootRefusal;
  readonly bl2?: BootedImage;
  readonly app?: BootedImage;
  /** The exchange of slots that this boot executed or completed. */
  readonly swapped: SwapType;
  /** Why a waiting upgrade was not taken. */
  readonly refused?: BootRefusal;
  /** False while a new application has not said that it works. */
  readonly confirmed: boolean;
  /** Image hashes in the order of the chain: what the device attests. */
  readonly measurements: readonly { readonly index: number; readonly name: 'bl2' | 'application'; readonly digest: Uint8Array }[];
};

/** Image number of dependencies (MCUboot multi-image): 0 the application that will run, 1 the bootloader. */
const dependencyImage = { application: 0, bootloader: 1 } as const;

/** Starts the device. @throws PowerCut when the memories' power supply fails on the way; start again on the same storage */
export function boot(device: BootDevice): BootResult {
  const rom = judgeBl2(device);
  if (!rom.ok) return { stage: 'dead', reason: rom.reason, swapped: 'none', confirmed: false, measurements: [] };
  device.otp.raiseCounter('bootloader', rom.info.securityCounter ?? 0);
  const bl2 = booted(rom.info);
  const waiting = { stage: 'bl2', bl2, confirmed: false, measurements: measure(bl2) } as const;
  if (!applicationKeyHash(device)) return { ...waiting, reason: 'application-key-not-burned', swapped: 'none' };
  const upgrade = runUpgrade(device, bl2);
  const judged = judgeSlot(device, 'primary', device.otp.counter('application'));
  if (!judged.ok) return { ...waiting, ...upgrade, reason: judged.reason };
  const confirmed = isConfirmed(device.flash, device.layout);
  if (confirmed) device.otp.raiseCounter('application', judged.info.securityCounter ?? 0);
  const app = booted(judged.info);
  return { stage: 'app', bl2, app, ...upgrade, confirmed, measurements: measure(bl2, app) };
}

type Judged = Verdict | { readonly ok: false; readonly reason: BootRefusal };

/** The boot ROM: the key inside the image must be the one in OTP, byte for byte. */
function judgeBl2({ flash, layout, otp }: BootDevice): Judged {
  const { bootKeyX, bootKeyY } = otpMap;
  if (otp.slot(bootKeyX.slot) !== 'burned' || otp.slot(bootKeyY.slot) !== 'burned') return { ok: false, reason: 'boot-key-not-burned' };
  const point = concat(Uint8Array.of(0x04), otp.read(bootKeyX.slot), otp.read(bootKeyY.slot));
  const otpKeyHash = sha256(p256Spki(point));
  return verifyImage(flash.read(layout.bl2.offset, layout.bl2.bytes), {
    signature: { algorithm: 'P-256', otpKeyHash },
    slotBytes: layout.bl2.bytes,
    slot: 'primary',
    securityCounter: otp.counter('bootloader'),
    maxSecurityCounter: maxSecurityCounter.bootloader,
  });
}

function applicationKeyHash({ otp }: BootDevice): Uint8Array | undefined {
  const { slot } = otpMap.applicationKeyHash;
  return otp.slot(slot) === 'burned' ? otp.read(slot) : undefined;
}

/** What BL2 asks of an image in one of its slots. The server judges with the same policy before it offers an image. */
export function applicationPolicy(device: BootDevice, slot: 'primary' | 'secondary', securityCounter: number): BootPolicy {
  const { mode: _, ...product } = device.config;
  return {
    ...product,
    signature: { algorithm: 'P-256', otpKeyHash: applicationKeyHash(device) ?? new Uint8Array(32) },
    slotBytes: device.layout[slot].bytes,
    trailerBytes: device.layout.sectorBytes,
    slot,
    securityCounter,
    maxSecurityCounter: maxSecurityCounter.application,
  };
}

function judgeSlot(device: BootDevice, slot: 'primary' | 'secondary', securityCounter: number): Verdict {
  const region: Region = device.layout[slot];
  return verifyImage(device.flash.read(region.offset, region.bytes), applicationPolicy(device, slot, securityCounter));
}

type Upgrade = { readonly swapped: SwapType; readonly refused?: BootRefusal };

/** Finishes an exchange that was cut, or begins the one that the trailers ask for. */
function runUpgrade(device: BootDevice, bl2: BootedImage): Upgrade {
  const { flash, layout } = device;
  const cut = readSwap(flash, layout);
  if (cut) return finishSwap(device, cut);
  const type = swapTypeOf(flash, layout);
  if (type === 'none') return { swapped: 'none' };
  const floor = type === 'revert' ? device.otp.counter('application') : rollbackFloor(device);
  const candidate = judgeSlot(device, 'secondary', floor);
  if (!candidate.ok) {
    scrambleSlot(flash, layout.secondary);
    return { swapped: 'none', refused: candidate.reason };
  }
  if (!dependenciesMet(candidate.info, bl2)) return { swapped: 'none', refused: 'dependency-not-met' };
  return device.config.mode === 'overwrite' ? overwrite(device, candidate.info) : swap(device, type, candidate.info);
}

/** A confirmed image in the primary slot sets the floor too, before its counter has reached OTP. */
function rollbackFloor(device: BootDevice): number {
  const counter = device.otp.counter('application');
  if (!isConfirmed(device.flash, device.layout)) return counter;
  const running = judgeSlot(device, 'primary', counter);
  return running.ok ? Math.max(counter, running.info.securityCounter ?? 0) : counter;
}

/** loader.c `boot_verify_slot_dependencies`: least versions of what will run after this boot. */
function dependenciesMet(candidate: ImageInfo, bl2: BootedImage): boolean {
  const versions: Record<number, Version> = {
    [dependencyImage.application]: candidate.version,
    [dependencyImage.bootloader]: bl2.version,
  };
  const dependencies = dependenciesOf(candidate);
  return dependencies?.every(({ imageId, minVersion }) => isAtLeast(versions[imageId], minVersion)) ?? false;
}

const isAtLeast = (version: Version | undefined, least: Version): boolean => version !== undefined && compareVersion(version, least) >= 0;

/** Without the key of an encrypted image that runs now there would be no way back to it. */
function swap(device: BootDevice, type: Exclude<SwapType, 'none'>, candidate: ImageInfo): Upgrade {
  const running = judgeSlot(device, 'primary', 0);
  const fromPrimary = running.ok ? slotEncryption(running.info, device) : null;
  const fromSecondary = slotEncryption(candidate, device);
  if (fromPrimary === undefined || fromSecondary === undefined) return { swapped: 'none', refused: 'enc-key-unwrap-failed' };
  const usedBytes = Math.max(candidate.endOffset, running.ok ? running.info.endOffset : 0);
  const head = { type, sectors: sectorsOf(device, usedBytes), fromPrimary, fromSecondary };
  beginSwap(device.flash, device.layout, head);
  return finishSwap(device, head);
}

function finishSwap(device: BootDevice, head: SwapHead): Upgrade {
  runSwap(device.flash, device.layout, head);
  return { swapped: head.type };
}

function overwrite(device: BootDevice, candidate: ImageInfo): Upgrade {
  const encryption = slotEncryption(candidate, device);
  if (encryption === undefined) return { swapped: 'none', refused: 'enc-key-unwrap-failed' };
  overwritePrimary(device.flash, device.layout, sectorsOf(device, candidate.endOffset), encryption);
  return { swapped: 'permanent' };
}

const sectorsOf = ({ layout }: BootDevice, bytes: number): number => Math.ceil(bytes / layout.sectorBytes);

/** @returns null for a plain image, undefined when the key of an encrypted one does not unwrap */
function slotEncryption(image: ImageInfo, { config }: BootDevice): SlotEncryption | undefined {
  const { header } = image;
  if (!isEncrypted(header)) return null;
  const cek = config.decryption && contentKey(header, image, config.decryption);
  return cek && { start: header.headerBytes, end: header.headerBytes + header.payloadBytes, cek };
}

const booted = ({ version, imageHash, securityCounter }: ImageInfo): BootedImage => ({
  version,
  imageHash,
  securityCounter: securityCounter ?? 0,
});

const measure = (bl2: BootedImage, app?: BootedImage): BootResult['measurements'] => [
  { index: measurementIndex.bl2, name: 'bl2', digest: bl2.imageHash },
  ...(app ? [{ index: measurementIndex.application, name: 'application' as const, digest: app.imageHash }] : []),
];
