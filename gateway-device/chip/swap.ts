import { concat, equalBytes } from '../../src/bytes.ts';
import { bytesUpTo, type CodecType, decodeAs, encodeAs, field, nullable, oneOf, record, uint } from '../../src/cbor/schema.ts';
import { sha256 } from '../../src/digest.ts';
import { aesCtr } from '../../src/ota/ecies.ts';
import { erasedByte, eraseRegion, type Flash, type FlashLayout, type Region, swapHeadBytes, writeBytes } from './flash.ts';
import { eraseTrailer, writeTrailer } from './slotTrailer.ts';

/** Exchange of the two slots that a power cut cannot hurt. Sector by sector: secondary → scratch, primary → secondary,
 *  scratch → primary; a mark after each step. Whatever was cut is done again from the last mark; its source is still whole.
 *  Images are in clear in the primary slot and encrypted in the secondary one, so payloads change on the way. */

/** Payload of an encrypted image and its key; `null`: a plain image. */
const encryption = nullable(record({ start: field(1, uint()), end: field(2, uint()), cek: field(3, bytesUpTo(32, 16)) }));

const swapHead = record({
  type: field(1, oneOf({ test: 1, permanent: 2, revert: 3 })),
  sectors: field(2, uint()),
  /** Of the image that was in the primary slot, and of the one that was in the secondary slot. */
  fromPrimary: field(3, encryption),
  fromSecondary: field(4, encryption),
});
export type SwapHead = CodecType<typeof swapHead>;
export type SlotEncryption = CodecType<typeof encryption>;

const stepsPerSector = 3;
const checksumBytes = 8;
const markSet = new Uint8Array(writeBytes);

/** Writes down what is to be done; from here on the exchange will be finished. */
export function beginSwap(flash: Flash, layout: FlashLayout, head: SwapHead): void {
  const content = encodeAs(swapHead, head);
  const length = new Uint8Array(2);
  new DataView(length.buffer).setUint16(0, content.length);
  eraseRegion(flash, layout.status);
  flash.program(layout.status.offset, concat(checksum(content), length, content));
}

/** @returns the exchange under way, or undefined when there is none */
export function readSwap(flash: Flash, layout: FlashLayout): SwapHead | undefined {
  const head = flash.read(layout.status.offset, swapHeadBytes);
  const length = new DataView(head.buffer).getUint16(checksumBytes);
  const content = head.subarray(checksumBytes + 2, checksumBytes + 2 + length);
  return equalBytes(checksum(content), head.subarray(0, checksumBytes)) ? decodeAs(swapHead, content) : undefined;
}

/** Begins or resumes the swap. Afterwards the primary slot has its trailer, the secondary has none, and the log is removed. */
export function runSwap(flash: Flash, layout: FlashLayout, head: SwapHead): void {
  for (let step = countMarks(flash, layout, head); step < head.sectors * stepsPerSector; step += 1) {
    runStep(flash, layout, head, step);
    flash.program(markOffset(layout, step), markSet);
  }
  eraseTrailer(flash, layout.primary);
  writeTrailer(flash, layout.primary, { copyDone: true, imageOk: head.type !== 'test' });
  eraseTrailer(flash, layout.secondary);
  eraseRegion(flash, layout.status);
}

function runStep(flash: Flash, layout: FlashLayout, head: SwapHead, step: number): void {
  const sector = Math.floor(step / stepsPerSector) * layout.sectorBytes;
  const scratch = layout.scratch.offset;
  const primary = layout.primary.offset + sector;
  const secondary = layout.secondary.offset + sector;
  if (step % stepsPerSector === 0) copySector(flash, secondary, scratch, content => crypt(content, sector, head.fromSecondary));
  else if (step % stepsPerSector === 1) copySector(flash, primary, secondary, content => crypt(content, sector, head.fromPrimary));
  else copySector(flash, scratch, primary);
}

/** Copies the whole image over the primary slot, for bootloaders without a way back. The secondary slot stays until the end, so a cut
 *  copy begins again. */
export function overwritePrimary(flash: Flash, layout: FlashLayout, sectors: number, encrypted: SlotEncryption): void {
  eraseTrailer(flash, layout.primary);
  for (let sector = 0; sector < sectors * layout.sectorBytes; sector += layout.sectorBytes) {
    copySector(flash, layout.secondary.offset + sector, layout.primary.offset + sector, content => crypt(content, sector, encrypted));
  }
  scrambleSlot(flash, layout.secondary);
}

function copySector(flash: Flash, from: number, to: number, change: (content: Uint8Array) => Uint8Array = content => content): void {
  const content = change(flash.read(from, flash.sectorBytes));
  flash.eraseSector(to);
  flash.program(to, content);
}

/** Encrypts or decrypts the part of a sector that belongs to the payload. */
function crypt(content: Uint8Array, offset: number, encrypted: SlotEncryption): Uint8Array {
  if (!encrypted) return content;
  const start = Math.max(encrypted.start, offset);
  const end = Math.min(encrypted.end, offset + content.length);
  if (start >= end) return content;
  const changed = aesCtr(encrypted.cek, content.subarray(start - offset, end - offset), start - encrypted.start);
  return concat(content.subarray(0, start - offset), changed, content.subarray(end - offset));
}

function countMarks(flash: Flash, layout: FlashLayout, head: SwapHead): number {
  const steps = head.sectors * stepsPerSector;
  let done = 0;
  while (done < steps && equalBytes(flash.read(markOffset(layout, done), writeBytes), markSet)) done += 1;
  return done;
}

const markOffset = (layout: FlashLayout, step: number): number => layout.status.offset + swapHeadBytes + step * writeBytes;

const checksum = (content: Uint8Array): Uint8Array => sha256(content).subarray(0, checksumBytes);

/** An image that cannot be booted is made unreadable, so that it is not judged again at every boot. */
export function scrambleSlot(flash: Flash, slot: Region): void {
  eraseTrailer(flash, slot);
  if (flash.read(slot.offset, 1)[0] !== erasedByte) flash.eraseSector(slot.offset);
}
