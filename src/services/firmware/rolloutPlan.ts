import { utf8 } from '../../bytes.ts';
import { definedOf } from '../../defined.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { imageHashesOf } from '../../domain/release.ts';
import { type PlannedRollout, rollout, rolloutStream } from '../../domain/rollout.ts';
import type { RolloutRamp, RolloutRetries, RolloutWindow } from '../../domain/rolloutPace.ts';
import { type DeviceSelector, maxListedDevices, type RolloutGroup, type RolloutTimeLimits } from '../../domain/rolloutPlan.ts';
import { isPast } from '../../domain/rules.ts';
import { NusecError } from '../../errors.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { type Context, execute, newHexId, nowIso, stateOf } from '../base/context.ts';
import { releaseOf } from './releases.ts';
import { requireOfferable } from './rolloutFit.ts';

/** What a rollout is to do, and which devices a group is. */

/** As zod gives it: what is not named is undefined. */
type Wished<Type> = { readonly [Name in keyof Type]: Type[Name] | undefined };

export type RolloutWish = {
  readonly releaseId: string;
  /** These devices; without them all of the release's line. */
  readonly devices?: readonly string[] | undefined;
  /** Shares of the whole in percent, or selectors, in order; the last share takes what remains. One group of all when not given. */
  readonly groups?: readonly (number | Wished<DeviceSelector>)[] | undefined;
  /** Only devices that it fits. */
  readonly selector?: Wished<DeviceSelector> | undefined;
  readonly windows?: readonly Wished<RolloutWindow>[] | undefined;
  readonly ramp?: RolloutRamp | undefined;
  readonly retries?: RolloutRetries | undefined;
  readonly lateJoiners?: boolean | undefined;
  readonly successPercent?: number | undefined;
  readonly failurePercent?: number | undefined;
  readonly maxFailures?: number | undefined;
  /** RFC 3339 */
  readonly deadline?: string | undefined;
  /** How long a device may stay in one state, in minutes. */
  readonly timeLimits?: { readonly [Name in keyof RolloutTimeLimits]?: number | undefined } | undefined;
  /** Offers in a minute; default: no limit. */
  readonly ratePerMinute?: number | undefined;
  /** It closes a hole: of two releases with the same counter and version it goes first. */
  readonly securityUpdate?: boolean | undefined;
  /** Only devices that run this release, by what they last proved: to take them away from it. */
  readonly fromRelease?: string | undefined;
  /** An older version at the same counter may be offered. */
  readonly permitDowngrade?: boolean | undefined;
  /** A larger step of the security counter than that of the line may be offered. */
  readonly permitCounterJump?: boolean | undefined;
};

const defaults = { successPercent: 90, failurePercent: 20 } as const;
/** Devices of one rollout. */
const maxRolloutDevices = 200_000;
const pageRows = 1000;

/** @throws NusecError NOT_FOUND (release, or a device that the plan names), BAD_REQUEST, and what is known to be refused for good when it is offered:
 *    RELEASE_STATE (not published), WRONG_PRODUCT (a bootloader, or a device of another line), ROLLBACK (below the floor of the line or the counter of a
 *    device), DOWNGRADE (without a permit), ENCRYPTION_REQUIRED (the line accepts encrypted images only), DEVICE_STATE (decommissioned) */
export async function planRollout(ctx: Context, wish: RolloutWish, by: Actor): Promise<string> {
  const release = await releaseOf(ctx, wish.releaseId);
  if (release.status !== 'PUBLISHED') throw new NusecError('RELEASE_STATE', `release ${wish.releaseId} is ${release.status}`);
  if (release.image !== 'app') throw new NusecError('WRONG_PRODUCT', 'a bootloader is not upgraded in the field');
  if (wish.deadline !== undefined && isPast(wish.deadline, nowIso(ctx)))
    throw new NusecError('BAD_REQUEST', 'the deadline has passed already: the rollout would end before its first offer');
  await requireOfferable(ctx, release, wish);
  const shares = wish.groups ?? [100];
  const groups = wish.devices === undefined ? shares.map(groupOf) : listedGroups(wish.devices, sharesOf(wish));
  const rolloutId = newHexId(ctx);
  const { successPercent = defaults.successPercent, failurePercent = defaults.failurePercent, maxFailures } = wish;
  const thresholds = { successPercent, failurePercent, ...(maxFailures !== undefined && { maxFailures }) };
  const plan = { rolloutId, releaseId: wish.releaseId, line: release.line, groups, thresholds, ...paceOf(wish) };
  await execute(ctx, rollout, rolloutStream(rolloutId), { type: 'PlanRollout', by, ...plan }, by);
  return rolloutId;
}

/** What the wish names, and nothing else. */
function paceOf({
  deadline,
  timeLimits,
  ratePerMinute,
  securityUpdate,
  permitDowngrade,
  permitCounterJump,
  fromRelease,
  selector,
  windows,
  ramp,
  retries,
  lateJoiners,
}: RolloutWish): Partial<PlannedRollout> {
  return {
    ...(deadline !== undefined && { deadline }),
    ...(timeLimits !== undefined && { timeLimits: defined(timeLimits) }),
    ...(ratePerMinute !== undefined && { ratePerMinute }),
    ...(securityUpdate && { securityUpdate }),
    ...(permitDowngrade && { permitDowngrade }),
    ...(permitCounterJump && { permitCounterJump }),
    ...(fromRelease !== undefined && { fromRelease }),
    ...(selector !== undefined && { selector: defined<DeviceSelector>(selector) }),
    ...(windows !== undefined && windows.length > 0 && { windows: windows.map(window => defined<RolloutWindow>(window)) }),
    ...(ramp !== undefined && { ramp }),
    ...(retries !== undefined && retries.count > 0 && { retries }),
    ...(lateJoiners && { lateJoiners }),
  };
}

const defined = <Type extends object>(wish: Wished<Partial<Type>>): Type => definedOf(wish) as Type;

const groupOf = (wanted: number | Wished<DeviceSelector>, i: number): RolloutGroup =>
  typeof wanted === 'number'
    ? { name: `group ${i + 1}`, percent: wanted }
    : { name: `group ${i + 1}`, selector: defined<DeviceSelector>(wanted) };

/** @throws NusecError BAD_REQUEST */
function sharesOf({ groups = [100], selector }: RolloutWish): readonly number[] {
  const shares = groups.filter(one => typeof one === 'number');
  if (shares.length < groups.length || selector !== undefined)
    throw new NusecError('BAD_REQUEST', 'a plan names its devices or selects them, not both');
  return shares;
}

function listedGroups(devices: readonly string[], shares: readonly number[]): readonly RolloutGroup[] {
  const all = [...new Set(devices)];
  if (all.length > maxListedDevices) throw new NusecError('BAD_REQUEST', `a plan names at most ${maxListedDevices} devices`);
  const groups: RolloutGroup[] = [];
  let used = 0;
  shares.forEach((percent, i) => {
    const count = i === shares.length - 1 ? all.length - used : shareOf(all.length, percent);
    const part = all.slice(used, used + count);
    used += part.length;
    if (part.length > 0) groups.push({ name: `group ${groups.length + 1}`, devices: part });
  });
  return groups;
}

/** At least one device: a group that tests nothing would be none. */
const shareOf = (total: number, percent: number): number => Math.max(1, Math.round((total * percent) / 100));

/** Devices of a group: those of the list or of the selector, or a share of the plan's devices, that no earlier group has, in an order that only
 *  depends on the rollout. @param before devices of earlier groups @returns uids; empty when none is left */
async function devicesBehind(ctx: Context, state: PlannedRollout, group: number, before: ReadonlySet<string>): Promise<readonly string[]> {
  const wanted = state.groups[group];
  if (wanted === undefined) return [];
  if ('devices' in wanted) return wanted.devices;
  const selectors = [state.selector, 'selector' in wanted ? wanted.selector : undefined].filter(one => one !== undefined);
  const rest = (await selectedDevices(ctx, state, selectors)).filter(uid => !before.has(uid));
  const isWhole = 'selector' in wanted || group === state.groups.length - 1;
  const count = isWhole ? rest.length : shareOf(rest.length + before.size, wanted.percent);
  const rank = (uid: string): string => sha256Hex(`${state.rolloutId} ${uid}`);
  return rest
    .map(uid => [rank(uid), uid] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .slice(0, count)
    .map(([, uid]) => uid);
}

/** Devices of the group that is to start. */
export const devicesOfGroup = async (ctx: Context, state: PlannedRollout, group: number): Promise<readonly string[]> =>
  devicesBehind(ctx, state, group, new Set(await startedDevices(ctx, state)));

/** Devices of each group that has started. */
export const startedGroups = (ctx: Context, { started }: PlannedRollout): Promise<readonly (readonly string[])[]> =>
  Promise.all(started.map(({ devicesSha256 }) => readDevices(ctx, devicesSha256)));

const startedDevices = async (ctx: Context, state: PlannedRollout): Promise<readonly string[]> => (await startedGroups(ctx, state)).flat();

/** Groups as they would be if all of them started now. */
export async function plannedDevices(ctx: Context, state: PlannedRollout): Promise<readonly (readonly string[])[]> {
  const before = new Set<string>();
  const groups: (readonly string[])[] = [];
  for (const group of state.groups.keys()) {
    const uids = await devicesBehind(ctx, state, group, before);
    for (const uid of uids) before.add(uid);
    groups.push(uids);
  }
  return groups;
}

/** What devices are selected by. */
export const selectionModels = ['devices', 'jobs', 'gateways'];

async function selectedDevices(ctx: Context, state: PlannedRollout, selectors: readonly DeviceSelector[]): Promise<readonly string[]> {
  const { line, fromRelease: releaseId } = state;
  const hashes = imageHashesOf(await releaseOf(ctx, state.releaseId));
  await ctx.reads.waitFor(await ctx.store.head(), { projections: selectionModels });
  const found: string[] = [];
  for (let after: string | undefined, rows = pageRows; rows === pageRows && found.length < maxRolloutDevices; ) {
    const page = await deviceQueries(ctx.reads.db).selected({ line, releaseId, selectors, after, limit: pageRows });
    found.push(...page.filter(row => !hashes.includes(row.image_hash ?? '')).map(row => row.uid));
    after = page.at(-1)?.uid;
    rows = page.length;
  }
  return found;
}

/** One UID per line, 32 hex. */
export const writeDevices = (ctx: Context, uids: readonly string[]): Promise<string> => ctx.blobs.put(utf8(uids.join('\n')));
export const readDevices = async (ctx: Context, sha256: string): Promise<readonly string[]> =>
  new TextDecoder()
    .decode(await ctx.blobs.get(sha256))
    .split('\n')
    .filter(uid => uid !== '');

/** One offer of a rollout to a device, permanently: the id of the OTA job too (16 bytes, hex). @param attempt 0 for the first one */
export const offerIdOf = (rolloutId: string, uid: string, attempt = 0): string =>
  sha256Hex(utf8(attempt === 0 ? `${rolloutId} ${uid}` : `${rolloutId} ${uid} ${attempt}`)).slice(0, 32);

/** @throws NusecError NOT_FOUND */
export async function rolloutOf(ctx: Context, rolloutId: string): Promise<PlannedRollout> {
  const state = await stateOf(ctx, rollout, rolloutStream(rolloutId));
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no rollout ${rolloutId}`);
  return state;
}
