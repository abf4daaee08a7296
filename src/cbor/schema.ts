import { decodeCbor } from './decode.ts';
import { encodeCbor, encodeParts } from './encode.ts';
import { type CborKey, type CborValue, isArray, isMap, malformed } from './value.ts';

/** Typed CBOR messages. A format is declared once, as a codec, and both directions follow from it with the same limits:
 *
 *      const grant = record({ uid: field(3, bytes(16)), count: field(6, uint(255)), note: optionalField(9, text(64)) });
 *      type Grant = CodecType<typeof grant>;             // { readonly uid: Uint8Array; readonly count: number; readonly note?: string }
 *      decodeAs(grant, encodeAs(grant, value))
 *
 *  Whatever does not fit is refused with CBOR_MALFORMED, on encoding too. Unknown keys are refused. */
export type Codec<T> = {
  /** @param at name of the field, for the error text */
  readonly decode: (value: CborValue, at: string) => T;
  readonly encode: (value: T, at: string) => CborValue;
};

export type CodecType<C> = C extends Codec<infer T> ? T : never;

/** @throws NusecError CBOR_MALFORMED */
export function decodeAs<T>(codec: Codec<T>, bytes: Uint8Array, maxDepth?: number): T {
  return codec.decode(decodeCbor(bytes, maxDepth), 'message');
}

/** @throws NusecError CBOR_MALFORMED when the value does not keep the limits of the codec */
export function encodeAs<T>(codec: Codec<T>, value: NoInfer<T>, maxDepth?: number): Uint8Array {
  return encodeCbor(codec.encode(value, 'message'), maxDepth);
}

/** The same as parts, one after the other: a long byte string is the caller's own, not a copy. @throws as encodeAs */
export function encodePartsAs<T>(codec: Codec<T>, value: NoInfer<T>): readonly Uint8Array[] {
  return encodeParts(codec.encode(value, 'message'));
}

const refuse = (at: string, expected: string) => malformed(`${at}: expected ${expected}`);

/** A codec whose value is the CBOR value itself, checked in both directions. */
function checked<T extends CborValue>(expected: string, isValid: (value: CborValue) => value is T): Codec<T> {
  const check = (value: CborValue, at: string): T => {
    if (!isValid(value)) throw refuse(at, expected);
    return value;
  };
  return { decode: check, encode: check };
}

const isBytesBetween = (value: CborValue, min: number, max: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length >= min && value.length <= max;

/** Unsigned integer up to `max` (inclusive). */
export const uint = (max: number = Number.MAX_SAFE_INTEGER, min = 0): Codec<number> =>
  checked(
    `integer ${min}…${max}`,
    (value): value is number => typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max,
  );

/** Byte string of exactly this length. */
export const bytes = (length: number): Codec<Uint8Array> => checked(`${length} bytes`, value => isBytesBetween(value, length, length));

/** Byte string of `minBytes` to `maxBytes`. */
export const bytesUpTo = (maxBytes: number, minBytes = 0): Codec<Uint8Array> =>
  checked(`${minBytes}…${maxBytes} bytes`, value => isBytesBetween(value, minBytes, maxBytes));

/** Text of at most `maxChars` UTF-16 units. */
export const text = (maxChars: number): Codec<string> =>
  checked(`text of at most ${maxChars}`, (value): value is string => typeof value === 'string' && value.length <= maxChars);

export const bool: Codec<boolean> = checked('true or false', value => typeof value === 'boolean');

/** Exactly this value, such as a version number. */
export const literal = <T extends number | string>(only: T): Codec<T> => checked(`${only}`, (value): value is T => value === only);

/** A name in the program, its number on the wire: `oneOf({ import: 1, reserve: 2 })`. */
export function oneOf<N extends string>(numbers: Readonly<Record<N, number>>): Codec<N> {
  const names = new Map(Object.entries<number>(numbers).map(([name, number]) => [number, name as N]));
  const expected = `one of ${[...names.keys()].join(', ')}`;
  return {
    decode: (value, at) => {
      const name = typeof value === 'number' ? names.get(value) : undefined;
      if (name === undefined) throw refuse(at, expected);
      return name;
    },
    encode: (name, at) => {
      if (!Object.hasOwn(numbers, name)) throw refuse(at, expected);
      return numbers[name];
    },
  };
}

/** Array of `minItems` to `maxItems` items of one kind. */
export function array<T>(item: Codec<T>, maxItems: number, minItems = 0): Codec<readonly T[]> {
  const expected = `${minItems}…${maxItems} items`;
  const fits = (count: number) => count >= minItems && count <= maxItems;
  return {
    decode: (value, at) => {
      if (!isArray(value) || !fits(value.length)) throw refuse(at, expected);
      return value.map(element => item.decode(element, at));
    },
    encode: (items, at) => {
      if (!fits(items.length)) throw refuse(at, expected);
      return items.map(element => item.encode(element, at));
    },
  };
}

export const nullable = <T>(codec: Codec<T>): Codec<T | null> => ({
  decode: (value, at) => (value === null ? null : codec.decode(value, at)),
  encode: (value, at) => (value === null ? null : codec.encode(value, at)),
});

/** Another shape in the program for the same bytes. `from` may refuse with a NusecError. */
export const mapped = <A, B>(codec: Codec<A>, from: (wire: A) => B, to: (value: B) => A): Codec<B> => ({
  decode: (value, at) => from(codec.decode(value, at)),
  encode: (value, at) => codec.encode(to(value), at),
});

/** A codec with one more rule, checked in both directions. */
export function refine<T>(codec: Codec<T>, expected: string, isValid: (value: T) => boolean): Codec<T> {
  const check = (value: T, at: string): T => {
    if (!isValid(value)) throw refuse(at, expected);
    return value;
  };
  return {
    decode: (value, at) => check(codec.decode(value, at), at),
    encode: (value, at) => codec.encode(check(value, at), at),
  };
}

type Field<T, Optional extends boolean> = { readonly key: CborKey; readonly codec: Codec<T>; readonly optional: Optional };
// biome-ignore lint/suspicious/noExplicitAny: fields of every type are in one table
type Fields = Readonly<Record<string, Field<any, boolean>>>;
type FieldType<F> = F extends Field<infer T, boolean> ? T : never;

export type RecordType<F extends Fields> = {
  readonly [N in keyof F as F[N]['optional'] extends true ? never : N]: FieldType<F[N]>;
} & { readonly [N in keyof F as F[N]['optional'] extends true ? N : never]?: FieldType<F[N]> };

export const field = <T>(key: CborKey, codec: Codec<T>): Field<T, false> => ({ key, codec, optional: false });

/** Absent from the map when undefined in the program. */
export const optionalField = <T>(key: CborKey, codec: Codec<T>): Field<T, true> => ({ key, codec, optional: true });

/** A map with known keys: every field that is not optional must be there, and nothing else. */
export function record<F extends Fields>(fields: F): Codec<RecordType<F>> {
  const names = Object.entries(fields);
  return {
    decode: (value, at) => {
      if (!isMap(value)) throw refuse(at, 'a map');
      const out: Record<string, unknown> = {};
      let found = 0;
      for (const [name, { key, codec, optional }] of names) {
        const entry = value.get(key);
        if (entry !== undefined) {
          out[name] = codec.decode(entry, name);
          found += 1;
        } else if (!optional) throw refuse(name, 'a value');
      }
      if (found !== value.size) throw refuse(at, 'no other keys');
      return out as RecordType<F>;
    },
    encode: value => {
      const map = new Map<CborKey, CborValue>();
      for (const [name, { key, codec, optional }] of names) {
        const entry = (value as Record<string, unknown>)[name];
        if (entry !== undefined) map.set(key, codec.encode(entry, name));
        else if (!optional) throw refuse(name, 'a value');
      }
      return map;
    },
  };
}
