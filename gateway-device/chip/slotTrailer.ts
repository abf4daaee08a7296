import { equalBytes, fromHex } from '../../src/bytes.ts';
import { type Flash, type FlashLayout, type Region, writeBytes } from './flash.ts';

/** The trailer at the end of a slot, by which application and bootloader talk about an upgrade
 *  (MCUboot docs/design.md "Image trailer", `BOOT_MAX_ALIGN` 8): … swap_info | copy_done | image_ok | magic[16]. */

const magic = fromHex('77c295f360d2ef7f3552500f2cb67980');
const flagSet = 0x01;
/** Distance of each flag from the end of the slot. */
const imageOkBack = magic.length + writeBytes;
const copyDoneBack = imageOkBack + writeBytes;

export type SwapType = 'none' | 'test' | 'permanent' | 'revert';

export type SlotTrailer = { readonly magic: boolean; readonly copyDone: boolean; readonly imageOk: boolean };

function readTrailer(flash: Flash, slot: Region): SlotTrailer {
  const end = slot.offset + slot.bytes;
  const isSet = (back: number): boolean => flash.read(end - back, 1)[0] === flagSet;
  return {
    magic: equalBytes(flash.read(end - magic.length, magic.length), magic),
    copyDone: isSet(copyDoneBack),
    imageOk: isSet(imageOkBack),
  };
}

/** The magic is written last: a trailer counts only when it is whole. */
export function writeTrailer(flash: Flash, slot: Region, trailer: { readonly copyDone: boolean; readonly imageOk: boolean }): void {
  const end = slot.offset + slot.bytes;
  if (trailer.copyDone) flash.program(end - copyDoneBack, Uint8Array.of(flagSet));
  if (trailer.imageOk) flash.program(end - imageOkBack, Uint8Array.of(flagSet));
  flash.program(end - magic.length, magic);
}

export const eraseTrailer = (flash: Flash, slot: Region): void => flash.eraseSector(slot.offset + slot.bytes - flash.sectorBytes);

/** What the two trailers ask for (bootutil_public.c `boot_swap_tables`, first match). */
export function swapTypeOf(flash: Flash, layout: FlashLayout): SwapType {
  const primary = readTrailer(flash, layout.primary);
  const secondary = readTrailer(flash, layout.secondary);
  if (secondary.magic) return secondary.imageOk ? 'permanent' : 'test';
  return primary.magic && primary.copyDone && !primary.imageOk ? 'revert' : 'none';
}

/** The application asks for an upgrade to what it has written to the secondary slot. `permanent` means no way back. */
export function markPending(flash: Flash, layout: FlashLayout, permanent = false): void {
  eraseTrailer(flash, layout.secondary);
  writeTrailer(flash, layout.secondary, { copyDone: false, imageOk: permanent });
}

/** The application says that it works. Without this the next boot goes back to the old image. */
export function confirmImage(flash: Flash, layout: FlashLayout): void {
  if (isConfirmed(flash, layout)) return;
  flash.program(layout.primary.offset + layout.primary.bytes - imageOkBack, Uint8Array.of(flagSet));
}

/** An image that no upgrade brought (no magic) counts as confirmed. */
export function isConfirmed(flash: Flash, layout: FlashLayout): boolean {
  const { magic: upgraded, imageOk } = readTrailer(flash, layout.primary);
  return !upgraded || imageOk;
}
