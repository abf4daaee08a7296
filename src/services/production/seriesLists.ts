import type { SeriesState, ValueList } from '../../domain/series.ts';
import { flawOf, isInRange, type SeriesKind, type ValueRange } from '../../domain/seriesValues.ts';
import { NusecError } from '../../errors.ts';
import { reportedText, valueBytes } from '../../production/unitData.ts';
import type { Context } from '../base/context.ts';

/** Lists of values of a series. A list is a blob of records of one width, so that one value is one read: length u16 BE | value | zeros. */

const maxListedValues = 100_000;
const lengthBytes = 2;

/** @param text one value per line; empty lines count for nothing
 *  @throws NusecError BAD_REQUEST naming the line of what is no value of this kind, or of what stands twice */
export function listedValues(kind: SeriesKind, text: string): readonly string[] {
  const seen = new Set<string>();
  const values: string[] = [];
  text.split(/\r?\n/).forEach((line, index) => {
    const value = line.trim();
    if (value === '') return;
    const flaw = flawOf(kind, value);
    if (flaw !== undefined) throw new NusecError('BAD_REQUEST', `line ${index + 1}: ${flaw}`);
    // Two units may be calibrated alike; everything else names one unit.
    if (kind !== 'calibration' && seen.has(value)) throw new NusecError('BAD_REQUEST', `line ${index + 1}: ${value} stands twice`);
    seen.add(value);
    values.push(value);
  });
  if (values.length > maxListedValues) throw new NusecError('BODY_TOO_LARGE', `a list has at most ${maxListedValues} values`);
  return values;
}

export async function storeList(ctx: Context, kind: SeriesKind, values: readonly string[]): Promise<ValueList> {
  const bytes = values.map(value => valueBytes(kind, value));
  const width = lengthBytes + bytes.reduce((most, { length }) => Math.max(most, length), 0);
  const records = new Uint8Array(width * bytes.length);
  const view = new DataView(records.buffer);
  bytes.forEach((value, index) => {
    view.setUint16(index * width, value.length);
    records.set(value, index * width + lengthBytes);
  });
  return { listSha256: await ctx.blobs.put(records), count: values.length, width };
}

/** @param index from 0 @returns `count` values from there on */
export async function readList(
  ctx: Context,
  { listSha256, width }: ValueList,
  index: number,
  count: number,
): Promise<readonly Uint8Array[]> {
  const records = await ctx.blobs.getRange(listSha256, index * width, count * width);
  return Array.from({ length: count }, (_, place) => valueIn(records, place * width));
}

function valueIn(records: Uint8Array, at: number): Uint8Array {
  const length = new DataView(records.buffer, records.byteOffset).getUint16(at);
  return records.slice(at + lengthBytes, at + lengthBytes + length);
}

/** A value of these that another series of this kind has too, where one of the two is a list. Ranges are compared by the decider. */
export async function clashOf(
  ctx: Context,
  { byName }: SeriesState,
  kind: SeriesKind,
  added: ValueRange | readonly string[],
): Promise<string | undefined> {
  if (kind === 'calibration') return undefined;
  const segments = [...byName.values()].filter(known => known.kind === kind).flatMap(known => known.segments);
  const listed = 'from' in added ? undefined : new Map(added.map(value => [keyOf(valueBytes(kind, value)), value]));
  for (const segment of segments) {
    if ('from' in segment) {
      const found = 'from' in added ? undefined : added.find(value => isInRange(kind, segment, value));
      if (found !== undefined) return found;
      continue;
    }
    for (const value of await readList(ctx, segment, 0, segment.count)) {
      const found = 'from' in added ? inRange(kind, added, value) : listed?.get(keyOf(value));
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

const keyOf = (value: Uint8Array): string => Buffer.from(value).toString('latin1');

function inRange(kind: SeriesKind, range: ValueRange, value: Uint8Array): string | undefined {
  const text = reportedText(kind, value);
  return isInRange(kind, range, text) ? text : undefined;
}
