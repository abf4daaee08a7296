import type { RolloutThresholds } from './rolloutPlan.ts';

/** How a group of a rollout does. */

/** `out`: devices that do not count, because they are out of use, or because a better release is on its way to them. */
export type GroupHealth = { readonly group: number; readonly succeeded: number; readonly failed: number; readonly out?: number };

/** Devices of a group that count. */
export const counted = (deviceCount: number, { out = 0 }: GroupHealth): number => deviceCount - out;

export function failureOf(
  health: GroupHealth,
  deviceCount: number,
  { failurePercent, maxFailures }: RolloutThresholds,
): string | undefined {
  if (maxFailures !== undefined && health.failed > maxFailures) return `more than ${maxFailures} devices of the group failed`;
  const isAbove = health.failed * 100 > failurePercent * counted(deviceCount, health);
  return isAbove ? `more than ${failurePercent} % of the group failed` : undefined;
}

export function reaches(succeeded: number, health: GroupHealth, deviceCount: number, { successPercent }: RolloutThresholds): boolean {
  return succeeded > 0 && succeeded * 100 >= successPercent * counted(deviceCount, health);
}
