import { InvalidArgumentError } from 'commander';

/** Parts of a rollout plan as they are typed: what does not fit is refused where it is typed. */

export type Selector = { readonly [name: string]: readonly string[] };
export type Window = { readonly days?: readonly string[]; readonly from: string; readonly to: string; readonly timeZone: string };

/** Words on the command line and what the API calls them. */
const selectorNames: Readonly<Record<string, string>> = {
  tag: 'tags',
  site: 'sites',
  gateway: 'gateways',
  runs: 'versions',
  state: 'statuses',
};

/** `tag=pilot,tag=berlin,site=Example CM`: one word of each kind has to fit. */
export function selectorOf(text: string): Selector {
  const selector: Record<string, string[]> = {};
  for (const part of text.split(',')) {
    const [word = '', value = ''] = part.split('=');
    const name = selectorNames[word.trim()];
    if (name === undefined || value === '') throw new InvalidArgumentError(`It takes ${Object.keys(selectorNames).join('=…, ')}=… .`);
    selector[name] = [...(selector[name] ?? []), value];
  }
  return selector;
}

/** `22:00-04:00 Europe/Berlin`, `sat,sun 08:00-18:00 Asia/Taipei` */
export function windowOf(text: string): Window {
  const [, days, from, to, timeZone] = /^(?:([a-z,]+) )?(\d\d:\d\d)-(\d\d:\d\d) (\S+)$/.exec(text.trim()) ?? [];
  if (from === undefined || to === undefined || timeZone === undefined)
    throw new InvalidArgumentError(
      'It takes "22:00-04:00 Europe/Berlin", with days before it where it is not every day: "sat,sun 22:00-04:00 …".',
    );
  return { ...(days !== undefined && { days: days.split(',') }), from, to, timeZone };
}
