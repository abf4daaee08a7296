import { contentText } from './contentText.ts';
import { type RolloutRamp, type RolloutRetries, type RolloutWindow, requirePace, requireWindows } from './rolloutPace.ts';
import { refuse, requireCount } from './rules.ts';

/** What a rollout is planned to do, and what of it makes no sense. */

/** Devices by what they are: all that is named has to fit, each by one of its words. */
export type DeviceSelector = {
  /** Versions that they run, by what they last proved. */
  readonly versions?: readonly string[];
  readonly tags?: readonly string[];
  /** Manufacturers that produced them. */
  readonly sites?: readonly string[];
  /** Gateways that they are attached to. */
  readonly gateways?: readonly string[];
  readonly statuses?: readonly UpgradableStatus[];
};
export const upgradableStatuses = ['STOCK', 'IN_SERVICE'] as const;
export type UpgradableStatus = (typeof upgradableStatuses)[number];
const maxSelectorWords = 100;

/** A group is a share of the fleet, devices by a selector, or a list of its own; the caller resolves it to devices when it starts. */
export type RolloutGroup = { readonly name: string } & (
  | { readonly percent: number }
  | { readonly devices: readonly string[] }
  | { readonly selector: DeviceSelector }
);

/** A group passes at `successPercent`, the rollout halts above `failurePercent`, both of the group's devices, or above `maxFailures` devices. */
export type RolloutThresholds = { readonly successPercent: number; readonly failurePercent: number; readonly maxFailures?: number };

export const maxGroups = 50;

/** Devices named in the plan itself; a larger group is a percentage. */
export const maxListedDevices = 1000;

/** States of a device under way, and how long it may stay in each, in minutes; beyond it the upgrade has failed. */
export type RolloutTimeLimits = {
  readonly offered: number;
  readonly downloading: number;
  readonly written: number;
  readonly testing: number;
};
const dayMinutes = 24 * 60;
export const defaultTimeLimits: RolloutTimeLimits = {
  offered: 30 * dayMinutes,
  downloading: 7 * dayMinutes,
  written: dayMinutes,
  testing: dayMinutes,
};

export type RolloutPlan = {
  readonly rolloutId: string;
  readonly releaseId: string;
  readonly line: string;
  readonly groups: readonly RolloutGroup[];
  readonly thresholds: RolloutThresholds;
  readonly securityUpdate?: boolean;
  readonly ratePerMinute?: number;
  /** RFC 3339. Whatever has no end by then has one. */
  readonly deadline?: string;
  /** In minutes; those of `defaultTimeLimits` when not named. */
  readonly timeLimits?: Partial<RolloutTimeLimits>;
  /** Only devices that run this release, by what they last proved: to take them away from it. */
  readonly fromRelease?: string;
  /** An older version at the same counter may be offered: planner and approver both agree to it. */
  readonly permitDowngrade?: boolean;
  /** The security counter may rise by more than the step of the line, on devices that have slept through the releases between: both agree to it. */
  readonly permitCounterJump?: boolean;
  /** Only devices that it fits. */
  readonly selector?: DeviceSelector;
  /** Devices begin within one of them only; begun installations continue. */
  readonly windows?: readonly RolloutWindow[];
  readonly ramp?: RolloutRamp;
  readonly retries?: RolloutRetries;
  /** Devices that fit later join the last group, until the deadline. */
  readonly lateJoiners?: boolean;
};

const planFields = [
  'rolloutId',
  'releaseId',
  'line',
  'groups',
  'thresholds',
  'securityUpdate',
  'ratePerMinute',
  'deadline',
  'timeLimits',
] as const;

/** Fields that came later, each list after the one before it. They count where one of their list or of a later one is set, so that the text of the
 *  plans from before stays what it was. */
const laterPlanFields = [
  ['fromRelease', 'permitDowngrade'],
  ['selector', 'windows', 'ramp', 'retries', 'lateJoiners'],
  ['permitCounterJump'],
] as const;

/** What an approval approves, as one text: the release and the whole plan, as it was planned. Equal texts are equal content. */
export function rolloutContent(state: RolloutPlan): string {
  const last = laterPlanFields.findLastIndex(names => names.some(name => state[name] !== undefined));
  const later = laterPlanFields.slice(0, last + 1).flat();
  return contentText([...planFields, ...later].map(name => state[name] ?? null));
}

/** @throws NusecError BAD_REQUEST */
export function requirePlan(data: RolloutPlan): void {
  if (data.groups.length === 0 || data.groups.length > maxGroups) refuse('BAD_REQUEST', `a rollout has 1 to ${maxGroups} groups`);
  if (!data.groups.every(hasGoodSize))
    refuse('BAD_REQUEST', `a group is 1 to 100 percent, a selector, or a list of 1 to ${maxListedDevices} devices`);
  for (const selector of [data.selector, ...data.groups.map(group => ('selector' in group ? group.selector : undefined))])
    if (selector !== undefined && !isSelector(selector))
      refuse('BAD_REQUEST', `a selector names something, and at most ${maxSelectorWords} words of a kind`);
  requireWindows(data.windows ?? []);
  requirePace(data.ramp, data.retries);
  if (data.lateJoiners && data.deadline === undefined) refuse('BAD_REQUEST', 'devices that come later join until a deadline: name one');
  const { successPercent, failurePercent } = data.thresholds;
  if (!(isPercent(successPercent) && isPercent(failurePercent))) refuse('BAD_REQUEST', 'a threshold is 0 to 100 percent');
  requireCount(data.thresholds.maxFailures ?? 0, 0, 'the number of failures');
  for (const [name, minutes] of Object.entries(data.timeLimits ?? {}))
    requireCount(minutes, 1, `the time limit of a device ${name}, in minutes`);
  requireCount(data.ratePerMinute ?? 1, 1, 'the number of offers in a minute');
  if (data.deadline !== undefined && Number.isNaN(Date.parse(data.deadline))) refuse('BAD_REQUEST', 'the deadline is no time');
}

function isSelector(selector: DeviceSelector): boolean {
  const words = Object.values(selector);
  return words.length > 0 && words.every(list => list.length > 0 && list.length <= maxSelectorWords);
}

function hasGoodSize(group: RolloutGroup): boolean {
  if ('selector' in group) return true;
  if ('devices' in group) return group.devices.length > 0 && group.devices.length <= maxListedDevices;
  return isPercent(group.percent) && group.percent > 0;
}

function isPercent(value: number): boolean {
  return value >= 0 && value <= 100;
}
