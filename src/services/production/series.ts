import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import type { UnitData } from '../../domain/allotmentEvents.ts';
import { type OpenedAllotment, remainingUnits } from '../../domain/allotmentState.ts';
import type { UnitDataField } from '../../domain/jobEvents.ts';
import type { CreatedJob } from '../../domain/jobState.ts';
import {
  type Block,
  blocksOf,
  type KnownSeries,
  type Segment,
  type SeriesState,
  series,
  seriesOf,
  seriesStream,
} from '../../domain/series.ts';
import { type SeriesKind, type ValueRange, valueAt } from '../../domain/seriesValues.ts';
import type { Read } from '../../eventstore/handle.ts';
import {
  finalUnitObject,
  maxListedBytes,
  reportOf,
  type UnitDataRule,
  type UnitDataSource,
  type UnitValue,
  valueBytes,
} from '../../production/unitData.ts';
import { type Context, execute, executeOn, stateOf } from '../base/context.ts';
import { clashOf, listedValues, readList, storeList } from './seriesLists.ts';

/** Series of values, and the unit data that packages and units get from them: no value twice, whatever is repeated, voided, packed again or built
 *  for another job. */

export const createSeries = (ctx: Context, name: string, kind: SeriesKind, by: Actor): Promise<KnownSeries> =>
  change(ctx, name, { type: 'DefineSeries', name, kind, by }, by);

/** @throws NusecError NOT_FOUND, BAD_REQUEST, CONFLICT (a value is in another series of this kind, or in this one) */
export const addRange = (ctx: Context, name: string, range: ValueRange, by: Actor): Promise<KnownSeries> =>
  extend(ctx, name, by, async () => ({ segment: range, added: range }));

/** @param text one value per line @throws as addRange, naming the line of a wrong one; BODY_TOO_LARGE */
export const addList = (ctx: Context, name: string, text: string, by: Actor): Promise<KnownSeries> =>
  extend(ctx, name, by, async kind => {
    const added = listedValues(kind, text);
    return { segment: await storeList(ctx, kind, added), added };
  });

type Addition = { readonly segment: Segment; readonly added: ValueRange | readonly string[] };

async function extend(ctx: Context, name: string, by: Actor, additionOf: (kind: SeriesKind) => Promise<Addition>): Promise<KnownSeries> {
  const { kind } = seriesOf(await stateOf(ctx, series, seriesStream), name);
  const { segment, added } = await additionOf(kind);
  const commandOf = async (read: Read) => {
    const clash = await clashOf(ctx, await read(series, seriesStream), kind, added);
    return { type: 'ExtendSeries' as const, name, segment, clash, by };
  };
  return seriesOf((await executeOn(ctx, series, seriesStream, commandOf, by)).state, name);
}

async function change(ctx: Context, name: string, command: Parameters<typeof series.decide>[0], by: Actor): Promise<KnownSeries> {
  return seriesOf((await execute(ctx, series, seriesStream, command, by)).state, name);
}

/** By name. */
export const allSeries = async (ctx: Context): Promise<readonly KnownSeries[]> =>
  [...(await stateOf(ctx, series, seriesStream)).byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));

/** @throws NusecError NOT_FOUND */
export const requireSeries = async (ctx: Context, fields: readonly UnitDataField[]): Promise<void> => {
  const state = await stateOf(ctx, series, seriesStream);
  for (const field of fields) seriesOf(state, field.series);
};

/** The unit data of a new package: values for the units that it counts and its scrap, or for as many as a package can carry from lists. Asked again it
 *  is the same.
 *  @returns undefined for a job without, and for a share with nothing left @throws NusecError VALUES_EXHAUSTED */
export async function unitDataFor(ctx: Context, job: CreatedJob, share: OpenedAllotment, by: Actor) {
  const { unitData: fields } = job;
  if (fields === undefined) return undefined;
  const units = remainingUnits(share);
  if (units === 0) return undefined;
  const spare = Math.max(0, share.scrapAllowance - share.scrapped);
  const fitting = unitsFitting(await stateOf(ctx, series, seriesStream), fields);
  const firstNumber = share.reserved + 1;
  const wanted = Math.min(units + spare, fitting);
  const { jobId, programmer } = share;
  const asked = { type: 'TakeBlock', jobId, programmer, firstNumber, wanted, required: Math.min(units, fitting) } as const;
  for (const { series: name } of fields) await execute(ctx, series, seriesStream, { ...asked, name }, by);
  const state = await stateOf(ctx, series, seriesStream);
  const rule: UnitDataRule = await Promise.all(
    fields.map(async ({ name, series: from, destination }) => {
      const known = seriesOf(state, from);
      return { name, destination, kind: known.kind, sources: await sourcesOf(ctx, known, share, firstNumber, wanted) };
    }),
  );
  const valuesUntil = Math.min(...rule.map(({ sources }) => endOf(sources.at(-1), firstNumber) - 1));
  return { rule, valuesUntil };
}

const endOf = (source: UnitDataSource | undefined, otherwise: number): number =>
  source === undefined ? otherwise : source.firstNumber + source.count;

/** What a package can carry of values that come from lists. */
function unitsFitting(state: SeriesState, fields: readonly UnitDataField[]): number {
  const widths = fields.map(({ series: name }) => seriesOf(state, name).segments.map(segment => ('width' in segment ? segment.width : 0)));
  const unitBytes = widths.reduce((sum, of) => sum + of.reduce((most, width) => Math.max(most, width), 0), 0);
  return unitBytes === 0 ? 0xffff_ffff : Math.floor(maxListedBytes / unitBytes);
}

async function sourcesOf(
  ctx: Context,
  known: KnownSeries,
  share: OpenedAllotment,
  firstNumber: number,
  wanted: number,
): Promise<readonly UnitDataSource[]> {
  const sources: UnitDataSource[] = [];
  for (const block of blocksOf(known, share)) {
    const begin = Math.max(block.firstNumber, firstNumber);
    const end = Math.min(block.firstNumber + block.count, firstNumber + wanted);
    if (begin >= end) continue;
    let number = begin;
    for (const { segment, index, count } of partsOf(known, block.from + begin - block.firstNumber, end - begin)) {
      const values = 'from' in segment ? undefined : await readList(ctx, segment, index, count);
      const from = 'from' in segment ? valueAt(known.kind, segment, index) : undefined;
      sources.push({ firstNumber: number, count, ...(from !== undefined && { from }), ...(values !== undefined && { values }) });
      number += count;
    }
  }
  return sources;
}

type Part = { readonly segment: Segment; readonly index: number; readonly count: number };

/** `count` values from an index of the series on, as parts of its ranges and lists. */
function partsOf({ segments }: KnownSeries, from: number, count: number): readonly Part[] {
  const parts: Part[] = [];
  let begin = 0;
  for (const segment of segments) {
    const [first, last] = [Math.max(begin, from), Math.min(begin + segment.count, from + count)];
    if (first < last) parts.push({ segment, index: first - begin, count: last - first });
    begin += segment.count;
  }
  return parts;
}

/** The unit data of one reservation. @returns `exhausted` when the package that the programmer counts on has none; undefined for a job without */
export async function unitDataOf(
  ctx: Context,
  { unitData: fields }: CreatedJob,
  share: OpenedAllotment,
  number: number,
): Promise<UnitData | 'exhausted' | undefined> {
  if (fields === undefined) return undefined;
  const imported = share.packages.find(({ packageId }) => packageId === share.importedPackageId);
  if (number > (imported?.valuesUntil ?? 0)) return 'exhausted';
  const state = await stateOf(ctx, series, seriesStream);
  const values: UnitValue[] = [];
  for (const { name, series: from, destination } of fields) {
    const known = seriesOf(state, from);
    const block = blocksOf(known, share).find(each => number >= each.firstNumber && number < each.firstNumber + each.count);
    if (block === undefined) return 'exhausted';
    values.push({ name, kind: known.kind, destination, value: await oneValue(ctx, known, block, number) });
  }
  const object = finalUnitObject(values);
  return { values: reportOf(values), ...(object !== undefined && { sha256: sha256Hex(object) }) };
}

async function oneValue(ctx: Context, known: KnownSeries, { firstNumber, from }: Block, number: number): Promise<Uint8Array> {
  const [part] = partsOf(known, from + number - firstNumber, 1);
  if (part === undefined) throw new RangeError(`series ${known.name} has no value for reservation ${number}`);
  const { segment, index } = part;
  if ('from' in segment) return valueBytes(known.kind, valueAt(known.kind, segment, index));
  const [value = new Uint8Array()] = await readList(ctx, segment, index, 1);
  return value;
}
