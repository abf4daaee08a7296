import type { Version } from '../domain/version.ts';

/** Versions inside images (image.h `struct image_version`): u8.u8.u16+u32. */

const limits = { major: 0xff, minor: 0xff, revision: 0xffff, build: 0xffff_ffff } as const satisfies Version;

export function isVersion(version: Version): boolean {
  return (Object.keys(limits) as (keyof Version)[]).every(
    part => Number.isInteger(version[part]) && version[part] >= 0 && version[part] <= limits[part],
  );
}

/** Order of the bootloader (loader.c `boot_compare_version`): the build number does not count. @returns < 0, 0 or > 0 */
export const compareVersion = (a: Version, b: Version): number => a.major - b.major || a.minor - b.minor || a.revision - b.revision;

/** 8 bytes, little endian. */
export function writeVersion(version: Version): Uint8Array {
  const out = new Uint8Array(8);
  const view = new DataView(out.buffer);
  view.setUint8(0, version.major);
  view.setUint8(1, version.minor);
  view.setUint16(2, version.revision, true);
  view.setUint32(4, version.build, true);
  return out;
}

export function readVersion(bytes: Uint8Array, offset: number): Version {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8);
  return {
    major: view.getUint8(0),
    minor: view.getUint8(1),
    revision: view.getUint16(2, true),
    build: view.getUint32(4, true),
  };
}
