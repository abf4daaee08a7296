import { counted } from '../counted.ts';
import type { DeviceSelector, RolloutGroup } from './rolloutPlan.ts';

/** Parts of a rollout plan as people write them, in the command line and in the console. */

export type SelectorText = { readonly [Name in keyof DeviceSelector]?: readonly string[] };
export type WindowText = { readonly days?: readonly string[]; readonly from: string; readonly to: string; readonly timeZone: string };

/** Words of people and what the plan calls them. */
const selectorNames: Readonly<Record<string, keyof DeviceSelector>> = {
  tag: 'tags',
  site: 'sites',
  gateway: 'gateways',
  runs: 'versions',
  state: 'statuses',
};
export const selectorForm = `${Object.keys(selectorNames).join('=…, ')}=…`;
export const windowForm = '22:00-04:00 Europe/Berlin, with days before it where it is not every day: sat,sun 22:00-04:00 Europe/Berlin';

/** `tag=pilot,tag=berlin,site=Example CM`: one word of each kind has to fit. @returns undefined when it is something else */
export function selectorOf(text: string): SelectorText | undefined {
  const selector: { -readonly [Name in keyof DeviceSelector]?: string[] } = {};
  for (const part of text.split(',')) {
    const [word = '', value = ''] = part.split('=').map(side => side.trim());
    const name = Object.hasOwn(selectorNames, word) ? selectorNames[word] : undefined;
    if (name === undefined || value === '') return undefined;
    selector[name] = [...(selector[name] ?? []), value];
  }
  return selector;
}

/** `22:00-04:00 Europe/Berlin`, `sat,sun 08:00-18:00 Asia/Taipei` @returns undefined when it is something else */
export function windowOf(text: string): WindowText | undefined {
  const [, days, from, to, timeZone] = /^(?:([a-z,]+) )?(\d\d:\d\d)-(\d\d:\d\d) (\S+)$/.exec(text.trim()) ?? [];
  if (from === undefined || to === undefined || timeZone === undefined) return undefined;
  return { ...(days !== undefined && { days: days.split(',') }), from, to, timeZone };
}

export const selectorWords = (selector: DeviceSelector): string =>
  Object.entries(selectorNames)
    .filter(([, name]) => selector[name] !== undefined)
    .map(([word, name]) => `${word} ${selector[name]?.join(' or ')}`)
    .join(', ');

export const groupWords = (group: RolloutGroup): string =>
  'percent' in group ? `${group.percent} %` : 'selector' in group ? selectorWords(group.selector) : counted(group.devices.length, 'device');

export const windowWords = ({ days, from, to, timeZone }: WindowText): string =>
  `${days === undefined ? 'every day' : days.join(', ')} ${from}–${to} ${timeZone}`;
