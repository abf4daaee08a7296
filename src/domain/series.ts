import type { Actor } from './actor.ts';
import { type BucketMap, emptyBucketMap, getEntry, withEntry } from './bucketMap.ts';
import type { Decider, Of } from './decider.ts';
import { refuse, requireCount } from './rules.ts';
import { overlap, requireRange, type SeriesKind, type ValueRange } from './seriesValues.ts';

/** Series: values of which each unit gets one for itself, and no value is given twice. One stream for all, `series`, because a value must not be
 *  in two series of one kind. Shares take blocks of a series when their package is made: the nth reservation of a share gets the nth value of its block,
 *  so a repeated request, another package and another job cannot meet the same value. */

const maxSeries = 256;
/** Ranges and lists of one series. */
const maxSegments = 64;

/** `width`: bytes of one record in the blob (`src/services/production/seriesLists.ts`). */
export type ValueList = { readonly listSha256: string; readonly count: number; readonly width: number };
export type Segment = ValueRange | ValueList;

/** `count` values from index `from` of the series on, for the reservations from `firstNumber` on of one share. */
export type Block = { readonly firstNumber: number; readonly from: number; readonly count: number };
type Share = { readonly jobId: string; readonly programmer: string };

export type SeriesEvent =
  | { readonly type: 'SeriesDefined'; readonly data: { readonly name: string; readonly kind: SeriesKind; readonly by: Actor } }
  | { readonly type: 'SeriesExtended'; readonly data: { readonly name: string; readonly segment: Segment; readonly by: Actor } }
  | { readonly type: 'SeriesBlockTaken'; readonly data: { readonly name: string } & Share & Block };

export type SeriesCommand =
  | { readonly type: 'DefineSeries'; readonly name: string; readonly kind: SeriesKind; readonly by: Actor }
  /** `clash`: a value that another list or range of this kind has too, as far as only the lists show it. */
  | {
      readonly type: 'ExtendSeries';
      readonly name: string;
      readonly segment: Segment;
      readonly clash?: string | undefined;
      readonly by: Actor;
    }
  /** Values for `wanted` reservations from `firstNumber` on; with fewer than `required` of them nothing is taken. */
  | ({
      readonly type: 'TakeBlock';
      readonly name: string;
      readonly firstNumber: number;
      readonly wanted: number;
      readonly required: number;
    } & Share);

export type KnownSeries = {
  readonly name: string;
  readonly kind: SeriesKind;
  readonly segments: readonly Segment[];
  /** Values in all, and how many of them shares have taken, from the first on. */
  readonly count: number;
  readonly taken: number;
  /** Of each share, by `shareKey`, in the order of their numbers. */
  readonly blocks: BucketMap<readonly Block[]>;
};
export type SeriesState = { readonly byName: ReadonlyMap<string, KnownSeries> };

export const seriesStream = 'series';

const shareKey = ({ jobId, programmer }: Share): string => `${jobId}-${programmer}`;

/** @throws NusecError NOT_FOUND */
export function seriesOf({ byName }: SeriesState, name: string): KnownSeries {
  return byName.get(name) ?? refuse('NOT_FOUND', `there is no series ${name}`);
}

/** Blocks of a share, in the order of their numbers. */
export const blocksOf = ({ blocks }: KnownSeries, share: Share): readonly Block[] => getEntry(blocks, shareKey(share)) ?? [];

function decide(command: SeriesCommand, state: SeriesState): readonly SeriesEvent[] {
  switch (command.type) {
    case 'DefineSeries':
      return define(command, state);
    case 'ExtendSeries':
      return extend(command, state);
    case 'TakeBlock':
      return take(command, state);
  }
}

function define({ name, kind, by }: Of<SeriesCommand, 'DefineSeries'>, { byName }: SeriesState): readonly SeriesEvent[] {
  const known = byName.get(name);
  if (known !== undefined) return known.kind === kind ? [] : refuse('CONFLICT', `series ${name} has values of the kind ${known.kind}`);
  if (byName.size >= maxSeries) refuse('RATE_LIMITED', `there are ${maxSeries} series already`);
  return [{ type: 'SeriesDefined', data: { name, kind, by } }];
}

function extend({ name, segment, clash, by }: Of<SeriesCommand, 'ExtendSeries'>, state: SeriesState): readonly SeriesEvent[] {
  const known = seriesOf(state, name);
  if (known.segments.some(each => isSame(each, segment))) return [];
  requireCount(segment.count, 1, 'the number of values');
  requireCount(known.count + segment.count, 1, 'the number of values of a series');
  if (known.segments.length >= maxSegments) refuse('RATE_LIMITED', `a series has at most ${maxSegments} ranges and lists`);
  if ('from' in segment) {
    requireRange(known.kind, segment);
    for (const other of state.byName.values()) {
      const double = other.kind === known.kind && other.segments.some(each => 'from' in each && overlap(known.kind, each, segment));
      if (double) refuse('CONFLICT', `series ${other.name} has some of these values`);
    }
  }
  if (clash !== undefined) refuse('CONFLICT', `another series has the value ${clash}`);
  return [{ type: 'SeriesExtended', data: { name, segment, by } }];
}

function isSame(one: Segment, other: Segment): boolean {
  if ('from' in one) return 'from' in other && one.from === other.from && one.count === other.count;
  return 'listSha256' in other && one.listSha256 === other.listSha256;
}

function take(
  { name, jobId, programmer, firstNumber, wanted, required }: Of<SeriesCommand, 'TakeBlock'>,
  state: SeriesState,
): readonly SeriesEvent[] {
  const known = seriesOf(state, name);
  const last = blocksOf(known, { jobId, programmer }).at(-1);
  const covered = Math.max(firstNumber, last === undefined ? 0 : last.firstNumber + last.count);
  const missing = firstNumber + wanted - covered;
  if (missing <= 0) return [];
  const left = known.count - known.taken;
  if (covered - firstNumber + left < required)
    refuse('VALUES_EXHAUSTED', `series ${name} has ${left} values left, ${required} units need one each`);
  const count = Math.min(missing, left);
  return count === 0
    ? []
    : [{ type: 'SeriesBlockTaken', data: { name, jobId, programmer, firstNumber: covered, from: known.taken, count } }];
}

function evolve(state: SeriesState, event: SeriesEvent): SeriesState {
  if (event.type === 'SeriesDefined') {
    const { name, kind } = event.data;
    return withSeries(state, { name, kind, segments: [], count: 0, taken: 0, blocks: emptyBucketMap });
  }
  const known = state.byName.get(event.data.name);
  if (known === undefined) return state;
  switch (event.type) {
    case 'SeriesExtended': {
      const { segment } = event.data;
      const count = known.count + (segment?.count ?? 0);
      return withSeries(state, { ...known, segments: [...known.segments, segment], count });
    }
    case 'SeriesBlockTaken': {
      const { firstNumber, from, count } = event.data;
      const blocks = withEntry(known.blocks, shareKey(event.data), [...blocksOf(known, event.data), { firstNumber, from, count }]);
      return withSeries(state, { ...known, taken: known.taken + count, blocks });
    }
    default:
      return state;
  }
}

const withSeries = ({ byName }: SeriesState, known: KnownSeries): SeriesState => ({ byName: new Map(byName).set(known.name, known) });

export const series: Decider<SeriesCommand, SeriesState, SeriesEvent> = {
  initialState: { byName: new Map() },
  decide,
  evolve,
};
