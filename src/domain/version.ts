import { refuse } from './rules.ts';

/** MCUboot versions: `major.minor.revision` with an optional `+build` (image header offset 20: u8, u8, u16, u32). */

export type Version = { readonly major: number; readonly minor: number; readonly revision: number; readonly build: number };

const pattern = /^(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\+(\d{1,10}))?$/;

/** Reads `1.2.3` or `1.2.3+4`.
 *  @throws NusecError BAD_REQUEST for anything else or a number beyond its field */
export function parseVersion(text: string): Version {
  const match = pattern.exec(text);
  if (match === null) refuse('BAD_REQUEST', 'a version reads major.minor.revision or major.minor.revision+build');
  const [major, minor, revision, build] = [Number(match[1]), Number(match[2]), Number(match[3]), Number(match[4] ?? 0)];
  if (major > 0xff || minor > 0xff || revision > 0xffff || build > 0xffff_ffff) {
    refuse('BAD_REQUEST', 'a version has at most 255.255.65535+4294967295');
  }
  return { major, minor, revision, build };
}

/** `1.2.3`, with `+build` only when the build is not 0. */
export function formatVersion({ major, minor, revision, build }: Version): string {
  const text = `${major}.${minor}.${revision}`;
  return build === 0 ? text : `${text}+${build}`;
}

/** Negative, 0 or positive as `a` is older than, equal to or newer than `b`. The order ignores the build, as MCUboot's does.
 *  @throws NusecError BAD_REQUEST when one of them is no version */
export function compareVersions(a: string, b: string): number {
  const left = parseVersion(a);
  const right = parseVersion(b);
  return left.major - right.major || left.minor - right.minor || left.revision - right.revision;
}
