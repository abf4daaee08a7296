import { NusecError } from '../errors.ts';

/** Firmware version as MCUboot has it (image.h `struct image_version`): u8.u8.u16+u32. */
export type ImageVersion = { readonly major: number; readonly minor: number; readonly revision: number; readonly build: number };

/** `iv_major` u8, `iv_minor` u8, `iv_revision` u16, `iv_build_num` u32 */
const limits = { major: 0xff, minor: 0xff, revision: 0xffff, build: 0xffff_ffff } as const;

/** @param text  `major.minor.revision` with an optional `+build` @throws NusecError BAD_REQUEST */
export function parseVersion(text: string): ImageVersion {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\+(\d{1,10}))?$/.exec(text);
  const version = match && {
    major: Number(match[1]),
    minor: Number(match[2]),
    revision: Number(match[3]),
    build: Number(match[4] ?? 0),
  };
  if (!version || !isVersion(version)) throw new NusecError('BAD_REQUEST', 'a version is major.minor.revision with an optional +build');
  return version;
}

export const formatVersion = (version: ImageVersion): string =>
  `${version.major}.${version.minor}.${version.revision}${version.build === 0 ? '' : `+${version.build}`}`;

export function isVersion(version: ImageVersion): boolean {
  return (Object.keys(limits) as (keyof ImageVersion)[]).every(
    part => Number.isInteger(version[part]) && version[part] >= 0 && version[part] <= limits[part],
  );
}

/** Order of the bootloader (loader.c `boot_compare_version`): the build number does not count. @returns < 0, 0 or > 0 */
export const compareVersion = (a: ImageVersion, b: ImageVersion): number =>
  a.major - b.major || a.minor - b.minor || a.revision - b.revision;

/** 8 bytes, little endian. */
export function writeVersion(version: ImageVersion): Uint8Array {
  const out = new Uint8Array(8);
  const view = new DataView(out.buffer);
  view.setUint8(0, version.major);
  view.setUint8(1, version.minor);
  view.setUint16(2, version.revision, true);
  view.setUint32(4, version.build, true);
  return out;
}

export function readVersion(bytes: Uint8Array, offset: number): ImageVersion {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8);
  return {
    major: view.getUint8(0),
    minor: view.getUint8(1),
    revision: view.getUint16(2, true),
    build: view.getUint32(4, true),
  };
}
