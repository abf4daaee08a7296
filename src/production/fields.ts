import { array, bytes, type Codec, mapped, oneOf, refine, uint } from '../cbor/schema.ts';
import type { CborValue } from '../cbor/value.ts';
import type { Version } from '../domain/version.ts';
import { configWordCount } from './configWords.ts';

/** Fields that several production formats share, each with its one form on the wire. */

const u32Max = 0xffff_ffff;

export const uid = bytes(16);
/** Ids of jobs (the token of RULE-5), packages, grants, registrations (objId) and nonces. */
export const id16 = bytes(16);
export const hash32 = bytes(32);
export const u8 = uint(0xff);
export const u32 = uint(u32Max);

export const configWords = array(u32, configWordCount, configWordCount);

/** Seconds since 1970-01-01T00:00:00Z. */
export const timeSeconds = uint(0xff_ffff_ffff);

/** MCUboot version as [major u8, minor u8, revision u16, build u32] (image header offset 20). */
export const version: Codec<Version> = mapped(
  refine(array(u32, 4, 4), 'a version', ([major = 0, minor = 0, revision = 0]) => major <= 0xff && minor <= 0xff && revision <= 0xffff),
  ([major = 0, minor = 0, revision = 0, build = 0]) => ({ major, minor, revision, build }),
  ({ major, minor, revision, build }) => [major, minor, revision, build],
);

/** Images by number: in packages, receipts and FW_BEGIN. */
export const imageIds = { bl2: 1, bl3: 2 } as const;

export const lifeCycle = oneOf({ manufacture: 0, deployed: 1, rma: 2, decommissioned: 3 });

/** `unlocked` = reopened by a signed order until the next reset. */
export const debugState = oneOf({ open: 0, locked: 1, unlocked: 2 });

/** Which program answers: the DevAuth code in SRAM, the bootloader, the application, or a programmer. */
export const stage = oneOf({ devauth: 0, bl2: 1, app: 2, programmer: 3 });

/** Named bits in one unsigned integer. Bits without a name are refused. */
export function flags<N extends string>(bits: Readonly<Record<N, number>>): Codec<Readonly<Record<N, boolean>>> {
  const names = Object.keys(bits) as N[];
  const all = names.reduce((sum, name) => sum | bits[name], 0);
  return mapped(
    refine(uint(all), 'known bits', value => (value & ~all) === 0),
    value => Object.fromEntries(names.map(name => [name, (value & bits[name]) !== 0])) as Record<N, boolean>,
    value => names.reduce((sum, name) => sum | (value[name] ? bits[name] : 0), 0),
  );
}

/** A fixed array on the wire, an object in the program. */
export function tuple<T extends object>(items: { readonly [N in keyof T]: Codec<T[N]> }): Codec<T> {
  const names = Object.keys(items) as (keyof T & string)[];
  const values: Codec<readonly CborValue[]> = array({ decode: value => value, encode: value => value }, names.length, names.length);
  return {
    decode: (value, at) => {
      const wire = values.decode(value, at);
      return Object.fromEntries(names.map((name, index) => [name, items[name].decode(wire[index] ?? null, name)])) as T;
    },
    encode: (value, at) =>
      values.encode(
        names.map(name => items[name].encode(value[name], name)),
        at,
      ) as CborValue,
  };
}
