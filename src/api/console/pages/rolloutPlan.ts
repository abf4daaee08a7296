import { counted } from '../../../counted.ts';
import type { RolloutPlan } from '../../../domain/rolloutPlan.ts';
import { groupWords, selectorWords, windowWords } from '../../../domain/rolloutText.ts';
import type { RolloutAnswer } from '../../rollouts.ts';
import { badge, type Cell, id, link, time } from '../parts.ts';

/** The plan as it is approved, in words. */
export function planFacts(given: RolloutAnswer['plan']): readonly (readonly [string, Cell])[] {
  const plan = given as Plan;
  const { thresholds, windows = [], ramp, retries, timeLimits = {} } = plan;
  const failures = thresholds.maxFailures === undefined ? '' : ` or ${counted(thresholds.maxFailures, 'device')}`;
  return [
    ['Groups', plan.groups.map(groupWords).join(', then ')],
    ['Only devices with', plan.selector && selectorWords(plan.selector)],
    ['Only devices that run', plan.fromRelease && link(`/console/releases/${plan.fromRelease}`, id(plan.fromRelease))],
    ['A group passes', `with ${thresholds.successPercent} % upgraded; it halts above ${thresholds.failurePercent} %${failures} failed`],
    ['Only at these times', windows.map(windowWords).join('; ')],
    ['At most', plan.ratePerMinute && `${counted(plan.ratePerMinute, 'device')} in a minute`],
    ['Begins with', ramp && `${ramp.firstPerMinute} in a minute, doubled every ${ramp.doublesEveryMinutes} minutes`],
    ['Tries again', retries && `${retries.count}×, first after ${retries.afterMinutes} minutes`],
    ['Devices that fit later', plan.lateJoiners ? 'take part until the deadline' : null],
    ['Has to be through by', time(plan.deadline)],
    [
      'Time limits',
      Object.entries(timeLimits)
        .map(([name, minutes]) => `${name} ${minutes} minutes`)
        .join(', '),
    ],
    ['Security update', plan.securityUpdate ? 'yes' : null],
    ['An older version', plan.permitDowngrade ? badge('permitted', 'bad') : null],
    ['A jump of the security counter', plan.permitCounterJump ? badge('permitted', 'bad') : null],
  ].filter((entry): entry is [string, Cell] => Boolean(entry[1]));
}

type Plan = Pick<RolloutPlan, 'groups' | 'thresholds'> & Partial<RolloutPlan>;

export const groupNames = (plan: RolloutAnswer['plan']): readonly string[] => (plan as Plan).groups.map(groupWords);
