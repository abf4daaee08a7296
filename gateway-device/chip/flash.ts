/** Flash memory of the virtual MCU: erased sector by sector to 0xFF, programmed by clearing bits, and cut off in the middle when power goes. */

/** Where a memory's bytes live between runs: a file, a buffer. The first write is the whole memory. */
export type NvStorage = {
  /** Everything written so far, or undefined when nothing was. */
  readonly load: () => Uint8Array | undefined;
  readonly write: (offset: number, bytes: Uint8Array) => void;
};

/** Power supply of the device. Asked before every physical operation; false = it fails in the middle of this one. */
export type Power = { readonly holds: () => boolean };

export const steadyPower: Power = { holds: () => true };

/** The device has stopped. It needs a new start on the same storage. */
export class PowerCut extends Error {
  constructor() {
    super('power cut');
    this.name = 'PowerCut';
  }
}

export const erasedByte = 0xff;

export type Flash = {
  readonly sectorBytes: number;
  readonly totalBytes: number;
  /** @returns a copy */
  readonly read: (offset: number, length: number) => Uint8Array;
  /** Erases one whole sector. A cut leaves its first half erased. */
  readonly eraseSector: (offset: number) => void;
  /** Clears bits: the content becomes old AND new. A cut leaves the first half written. */
  readonly program: (offset: number, bytes: Uint8Array) => void;
};

/** @param storage  keeps the content; a new one reads as erased flash @throws RangeError for addresses outside, as a bus fault would */
export function openFlash(
  size: { readonly sectorBytes: number; readonly totalBytes: number },
  storage: NvStorage,
  power: Power = steadyPower,
): Flash {
  const { sectorBytes, totalBytes } = size;
  const content = new Uint8Array(totalBytes).fill(erasedByte);
  const kept = storage.load();
  if (kept) content.set(kept.subarray(0, totalBytes));
  else storage.write(0, content);

  const apply = (offset: number, bytes: Uint8Array): void => {
    const whole = power.holds();
    const written = whole ? bytes : bytes.subarray(0, bytes.length >> 1);
    content.set(written, offset);
    storage.write(offset, written);
    if (!whole) throw new PowerCut();
  };
  const checkRange = (offset: number, length: number): void => {
    if (offset < 0 || length < 0 || offset + length > totalBytes) throw new RangeError(`no flash at ${offset} + ${length}`);
  };
  return {
    sectorBytes,
    totalBytes,
    read: (offset, length) => {
      checkRange(offset, length);
      return content.slice(offset, offset + length);
    },
    eraseSector: offset => {
      checkRange(offset, sectorBytes);
      if (offset % sectorBytes !== 0) throw new RangeError(`no sector begins at ${offset}`);
      apply(offset, new Uint8Array(sectorBytes).fill(erasedByte));
    },
    program: (offset, bytes) => {
      checkRange(offset, bytes.length);
      apply(
        offset,
        bytes.map((byte, index) => byte & (content[offset + index] ?? 0)),
      );
    },
  };
}

export type Region = { readonly offset: number; readonly bytes: number };

/** Where things are. The last sector of each slot belongs to its trailer; `status` logs a swap that is under way. */
export type FlashLayout = {
  readonly sectorBytes: number;
  readonly totalBytes: number;
  readonly bl2: Region;
  readonly primary: Region;
  readonly secondary: Region;
  readonly scratch: Region;
  readonly status: Region;
  /** Certificates and whatever the application keeps. */
  readonly data: Region;
};

/** Bytes at the start of `status` for what the swap must remember; after it one mark for each step. */
export const swapHeadBytes = 512;
/** Granule of a single write: trailer flags and swap marks have one each (`BOOT_MAX_ALIGN` 8). */
export const writeBytes = 8;

/** @param sizes  all multiples of `sectorBytes` */
export function flashLayout(sizes: { sectorBytes?: number; bl2Bytes?: number; slotBytes?: number; dataBytes?: number } = {}): FlashLayout {
  const { sectorBytes = 4096, bl2Bytes = 64 * 1024, slotBytes = 256 * 1024, dataBytes = 32 * 1024 } = sizes;
  const statusBytes = Math.ceil((swapHeadBytes + 3 * writeBytes * (slotBytes / sectorBytes)) / sectorBytes) * sectorBytes;
  let offset = 0;
  const next = (bytes: number): Region => {
    const region = { offset, bytes };
    offset += bytes;
    return region;
  };
  const regions = {
    bl2: next(bl2Bytes),
    primary: next(slotBytes),
    secondary: next(slotBytes),
    scratch: next(sectorBytes),
    status: next(statusBytes),
    data: next(dataBytes),
  };
  return { sectorBytes, totalBytes: offset, ...regions };
}

export function eraseRegion(flash: Flash, region: Region): void {
  for (let at = 0; at < region.bytes; at += flash.sectorBytes) flash.eraseSector(region.offset + at);
}
