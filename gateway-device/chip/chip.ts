import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, fromHex, toHex, utf8 } from '../../src/bytes.ts';
import type { CodecType } from '../../src/cbor/schema.ts';
import { NusecError } from '../../src/errors.ts';
import { makeFolder } from '../../src/folder.ts';
import type { Decryption } from '../../src/ota/decrypt.ts';
import { findTlv, tlvType } from '../../src/ota/tlv.ts';
import { verifyImage } from '../../src/ota/verify.ts';
import type { debugState, lifeCycle } from '../../src/production/fields.ts';
import { memoryMap } from '../link/debugPort.ts';
import { replaceFile } from '../link/replaceFile.ts';
import { type BootDevice, type BootResult, boot } from './bootloader.ts';
import { type DataStore, openDataStore } from './dataStore.ts';
import { fileStorage } from './files.ts';
import { eraseRegion, type Flash, type FlashLayout, flashLayout, type NvStorage, openFlash, type Power, steadyPower } from './flash.ts';
import { encryptionKeySlot, fileVault, type KeyStore, type KeyVault, openKeyStore } from './keyStore.ts';
import { type Otp, openOtp } from './otp.ts';

/** The virtual microcontroller, without any software: UID, OTP, flash, SRAM, KeyStore, life cycle, debug lock and boot ROM.
 *  Boards (board.ts) put stages on it: a target MCU and a programmer have the same chip. */

type LifeCycle = CodecType<typeof lifeCycle>;
type DebugState = CodecType<typeof debugState>;

export type ChipIdentity = { readonly uid: Uint8Array; readonly productId: number };

export type Chip = ChipIdentity & {
  readonly otp: Otp;
  readonly flash: Flash;
  readonly layout: FlashLayout;
  readonly keyStore: KeyStore;
  readonly data: DataStore;
  /** Lost at every start. */
  readonly sram: Uint8Array;
  readonly lifeCycle: () => LifeCycle;
  readonly debugState: () => DebugState;
  readonly bootCount: () => number;
  /** Closes the debug port permanently and moves the life cycle forward, never back. */
  readonly lock: () => void;
  readonly setLifeCycle: (to: LifeCycle) => void;
  /** Until the next start. */
  readonly unlockDebug: () => void;
  /** Decommissions: flag first, then keys, firmware and data; a cut in between is finished at the next start. Irreversible. */
  readonly wipe: () => void;
  /** Power-on or reset: the boot ROM and the boot chain run. @throws PowerCut */
  readonly boot: () => BootResult;
  readonly bootDevice: () => BootDevice;
  /** Everything written so far is on the disk; called before an answer leaves. */
  readonly sync: () => void;
  readonly close: () => void;
};

export type ChipStorage = {
  readonly otp: NvStorage;
  readonly flash: NvStorage;
  /** Boot counter, u32 BE. */
  readonly registers: NvStorage;
  readonly keys: KeyVault;
  readonly sync?: () => void;
  readonly close?: () => void;
};

/** Single bits that only go from 0 to 1 (flags of the OTP). */
const otpFlag = { debugLocked: 0, deployed: 1, rma: 2, decommissioned: 3 } as const;

/** Flash of the virtual chip, as the memory map says, then what only software uses. */
const chipLayout = flashLayout({
  bl2Bytes: memoryMap.bl2.bytes,
  slotBytes: memoryMap.primary.bytes,
  dataBytes: 512 * 1024,
});

/** @param builtIn  key that the bootloader decrypts with in the place of the chip's own: one of the whole line */
export function openChip(
  identity: ChipIdentity,
  storage: ChipStorage,
  power: Power = steadyPower,
  layout = chipLayout,
  builtIn?: Decryption,
): Chip {
  const otp = openOtp(storage.otp, power);
  const flash = openFlash(layout, storage.flash, power);
  const keyStore = openKeyStore(storage.keys);
  const data = openDataStore(flash, layout.data);
  const sram = new Uint8Array(memoryMap.sram.bytes);
  let isUnlocked = false;
  let bootCount = readCount(storage.registers);

  const lifeCycle = (): LifeCycle => {
    if (otp.flag(otpFlag.decommissioned)) return 'decommissioned';
    if (otp.flag(otpFlag.rma)) return 'rma';
    return otp.flag(otpFlag.deployed) ? 'deployed' : 'manufacture';
  };
  const bootDevice = (): BootDevice => {
    const decryption = builtIn ?? keyStore.decryption(encryptionKeySlot);
    const config = { mode: 'swap', uid: identity.uid, ...productOf(flash, layout), ...(decryption && { decryption }) } as const;
    return { flash, layout, otp, config };
  };
  const finishWipe = (): void => {
    keyStore.erase();
    data.eraseAll();
    for (const region of [layout.primary, layout.secondary, layout.status, layout.bl2]) eraseRegion(flash, region);
  };
  return {
    ...identity,
    otp,
    flash,
    layout,
    keyStore,
    data,
    sram,
    lifeCycle,
    debugState: () => (isUnlocked ? 'unlocked' : otp.flag(otpFlag.debugLocked) ? 'locked' : 'open'),
    bootCount: () => bootCount,
    lock: () => otp.setFlag(otpFlag.debugLocked),
    setLifeCycle: to => {
      if (to === 'manufacture') return;
      otp.setFlag(otpFlag[to]);
    },
    unlockDebug: () => {
      isUnlocked = true;
    },
    wipe: () => {
      otp.setFlag(otpFlag.decommissioned);
      finishWipe();
    },
    boot: () => {
      bootCount += 1;
      writeCount(storage.registers, bootCount);
      sram.fill(0);
      isUnlocked = false;
      if (lifeCycle() === 'decommissioned') {
        finishWipe();
        return { stage: 'dead', swapped: 'none', confirmed: false, measurements: [] };
      }
      return boot(bootDevice());
    },
    bootDevice,
    sync: () => storage.sync?.(),
    close: () => storage.close?.(),
  };
}

const identityFile = 'chip.json';

/** A chip whose memories are files in a folder of its own.
 *  @param identity  given for a new chip; an existing one keeps its own
 *  @throws NusecError BAD_REQUEST (no chip there and no identity given, or another UID than the chip's), FOLDER_REFUSED */
export function openChipFolder(folder: string, identity?: ChipIdentity, power?: Power, builtIn?: Decryption): Chip {
  makeFolder(folder);
  const fused = fusedIdentity(join(folder, identityFile), identity);
  const otp = fileStorage(join(folder, 'otp.bin'), true);
  const flash = fileStorage(join(folder, 'flash.bin'));
  const registers = fileStorage(join(folder, 'registers.bin'));
  const files = [otp, flash, registers];
  const storage: ChipStorage = {
    otp,
    flash,
    registers,
    keys: fileVault(join(folder, 'keystore.json')),
    sync: () => {
      for (const file of files) file.sync();
    },
    close: () => {
      for (const file of files) file.close();
    },
  };
  return openChip(fused, storage, power, chipLayout, builtIn);
}

/** Whether there is a chip in this folder. */
export const hasChip = (folder: string): boolean => existsSync(join(folder, identityFile));

function fusedIdentity(path: string, wanted: ChipIdentity | undefined): ChipIdentity {
  if (!existsSync(path)) {
    if (!wanted) throw new NusecError('BAD_REQUEST', 'a new chip needs a UID');
    replaceFile(path, utf8(`${JSON.stringify({ uid: toHex(wanted.uid), productId: wanted.productId })}\n`));
    return wanted;
  }
  const { uid, productId } = JSON.parse(readFileSync(path, 'utf8')) as { uid: string; productId: number };
  const fused = { uid: fromHex(uid), productId };
  if (wanted && !equalBytes(wanted.uid, fused.uid)) throw new NusecError('BAD_REQUEST', `the chip in this folder has UID ${uid}`);
  return fused;
}

/** BL2 is built for one product line: the identifiers it carries are those it asks of the application (T13). */
function productOf(flash: Flash, layout: FlashLayout): { vendorUuid?: Uint8Array; classUuid?: Uint8Array } {
  const { offset, bytes } = layout.bl2;
  const bl2 = verifyImage(flash.read(offset, bytes), { signature: { algorithm: 'none' }, slotBytes: bytes });
  if (!bl2.ok) return {};
  const vendorUuid = findTlv(bl2.info.protectedTlvs, tlvType.vendorUuid);
  const classUuid = findTlv(bl2.info.protectedTlvs, tlvType.classUuid);
  return { ...(vendorUuid && { vendorUuid }), ...(classUuid && { classUuid }) };
}

function readCount(registers: NvStorage): number {
  const content = registers.load();
  return content && content.length >= 4 ? new DataView(content.buffer, content.byteOffset).getUint32(0) : 0;
}

function writeCount(registers: NvStorage, count: number): void {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, count);
  registers.write(0, out);
}
