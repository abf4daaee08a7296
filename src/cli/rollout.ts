import type { Command } from 'commander';
import { upgradableStatuses } from '../domain/rolloutPlan.ts';
import type { SelectorText, WindowText } from '../domain/rolloutText.ts';
import { ask, type Look, listAll, lookOf, type ServerOptions, subcommandsOf, withLook } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { unitCount, wholeNumber } from './options.ts';
import { print, table } from './output.ts';
import { selectorArgument, windowArgument } from './rolloutParts.ts';
import { type Rollout, showRollout } from './rolloutView.ts';
import { watchRollout } from './rolloutWatch.ts';

type Create = ServerOptions & {
  release: string;
  device?: readonly string[];
  group?: readonly (number | SelectorText)[];
  tag?: readonly string[];
  site?: readonly string[];
  gateway?: readonly string[];
  runs?: readonly string[];
  state?: readonly string[];
  window?: readonly WindowText[];
  ramp?: number;
  rampDoubles?: number;
  retries?: number;
  retryAfter?: number;
  lateJoiners?: boolean;
  success?: number;
  failure?: number;
  maxFailures?: number;
  rate?: number;
  deadline?: string;
  security?: boolean;
  permitDowngrade?: boolean;
  permitCounterJump?: boolean;
  offered?: number;
  downloading?: number;
  written?: number;
  testing?: number;
};

const example = '874a667189da472d09d34276d97e812f';
const uid = '00112233445566778899aabbccddeeff';

/** `nusec rollout`: firmware to devices in the field. */
export function registerRollout(program: Command): void {
  const rollout = program.command('rollout').description('rollouts: plan, approve by a second person, start, watch, stop');
  const command = subcommandsOf(rollout);
  command(
    'create',
    'plan a rollout of a published release',
    `create --release 148f3636cfa2c0dac2794f4ebae4200c --group 10 90 --max-failures 2`,
    `create --release 148f3636cfa2c0dac2794f4ebae4200c --device ${uid}`,
    `create --release 148f3636cfa2c0dac2794f4ebae4200c --group tag=pilot 10 100 --window "sat,sun 22:00-04:00 Europe/Berlin" --retries 2`,
    `create --release 148f3636cfa2c0dac2794f4ebae4200c --site "Example CM" --ramp 10 --rate 500 --late-joiners --deadline 2026-12-24T12:00:00Z`,
    `create --release 148f3636cfa2c0dac2794f4ebae4200c --security --rate 200 --deadline 2026-12-24T12:00:00Z --downloading 120`,
  )
    .requiredOption('--release <id>', 'the release')
    .option('--device <uid...>', 'these devices; all of the line when not given')
    .option(
      '--group <part...>',
      'groups, one after the other: percent of the whole, or tag=pilot,site=… ; the last percent takes what remains',
      groups,
    )
    .option('--tag <tag...>', 'only devices with one of these tags')
    .option('--site <name...>', 'only devices that these manufacturers have produced')
    .option('--gateway <id...>', 'only devices behind these gateways')
    .option('--runs <version...>', 'only devices that run one of these versions, by what they last proved')
    .option('--state <state...>', `only devices in this state: ${upgradableStatuses.join(', ')}`)
    .option('--success <percent>', 'a group passes with so many upgraded devices; 90 when not given', threshold)
    .option('--failure <percent>', 'halt above so many failed devices of a group; 20 when not given', threshold)
    .option('--max-failures <n>', 'halt when more devices of a group fail', unitCount)
    .option('--rate <n>', 'devices in a minute; default: no limit', unitCount)
    .option('--ramp <n>', 'begin with so many devices in a minute, up to the rate', unitCount)
    .option('--ramp-doubles <minutes>', 'the ramp doubles after so many minutes; 10 when not given', limitMinutes)
    .option('--window <window...>', 'devices begin only then: "22:00-04:00 Europe/Berlin", or with days "mon,tue 22:00-04:00 …"', windows)
    .option('--retries <n>', 'offer it again to a device that has failed, so often', wholeNumber(0, 10))
    .option('--retry-after <minutes>', 'before the first retry; doubled each time; 10 when not given', limitMinutes)
    .option('--late-joiners', 'devices that fit later take part, until the deadline')
    .option('--deadline <time>', 'what has no end by then has one; RFC 3339')
    .option('--security', 'it closes a hole: it goes before another release with the same counter and version')
    .option('--permit-downgrade', 'an older version at the same counter may be offered: you and the approver stand for it')
    .option('--permit-counter-jump', 'the counter may rise by more than the step of the line: you and the approver stand for it')
    .option('--offered <minutes>', 'a device that has not begun by then has failed; 30 days when not given', wholeNumber(1, 43_200))
    .option('--downloading <minutes>', 'the same for the download; 7 days when not given', limitMinutes)
    .option('--written <minutes>', 'the same from the download to the restart; a day when not given', limitMinutes)
    .option('--testing <minutes>', 'the same from the restart to the proof; a day when not given', limitMinutes)
    .action(create);
  withLook(command('approve <rollout>', 'approve a plan: not by who made it', `approve ${example}`)).action(
    async (id: string, options: ServerOptions & Look) => change(options, 'POST', `/v1/rollouts/${id}/approve`, lookOf(options)),
  );
  for (const [name, description] of [
    ['start', 'start an approved rollout'],
    ['resume', 'go on with a paused rollout'],
  ] as const) {
    command(`${name} <rollout>`, description, `${name} ${example}`).action(async (id: string, options: ServerOptions) =>
      change(options, 'POST', `/v1/rollouts/${id}/${name}`, {}),
    );
  }
  command('pause <rollout>', 'hold back what is not delivered yet', `pause ${example} --reason "complaints"`)
    .requiredOption('--reason <text>', 'why')
    .action(async (id: string, { reason, ...options }: ServerOptions & { reason: string }) =>
      change(options, 'POST', `/v1/rollouts/${id}/pause`, { reason }),
    );
  withConfirmation(
    command('abort <rollout>', 'end a rollout', `abort ${example} --reason "complaints"`, `abort ${example} --reason bricked --yes`),
  )
    .requiredOption('--reason <text>', 'why')
    .action(async (id: string, { reason, ...options }: Confirmed & { reason: string }) => {
      const deed = { what: `The rollout ${id} ends.`, name: id, method: 'POST', path: `/v1/rollouts/${id}/abort` } as const;
      await act<Rollout>(options, { ...deed, body: { reason } }, rollout => showRollout(options, rollout));
    });
  command(
    'show <rollout>',
    'one rollout and its devices; with --watch its progress, until it has ended',
    `show ${example}`,
    `show ${example} --watch`,
  ).action(async (id: string, { watch, ...options }: ServerOptions & { watch?: boolean }) =>
    watch ? watchRollout(options, id) : change(options, 'GET', `/v1/rollouts/${id}`),
  );
  command('list', 'all rollouts', 'list --json').action(async (options: ServerOptions) => {
    const rollouts = await listAll<Rollout>(options, '/v1/rollouts', 'rollouts');
    const rows = rollouts.map(one => [one.rolloutId, one.line, one.status, `${one.passedGroups}/${one.groups}`, one.devices]);
    print(options, rollouts, table(['ROLLOUT', 'LINE', 'STATUS', 'GROUPS', 'DEVICES'], rows));
  });
}

const percent = wholeNumber(1, 100);
const threshold = wholeNumber(0, 100);
const limitMinutes = wholeNumber(1, 525_600);
const groups = (text: string, before: readonly (number | SelectorText)[] = []): readonly (number | SelectorText)[] => [
  ...before,
  text.includes('=') ? selectorArgument(text) : percent(text),
];
const windows = (text: string, before: readonly WindowText[] = []): readonly WindowText[] => [...before, windowArgument(text)];

async function create(wish: Create): Promise<void> {
  const { offered, downloading, written, testing, ramp, rampDoubles = 10, retries, retryAfter = 10 } = wish;
  const limits = { offered, downloading, written, testing };
  const selector = { tags: wish.tag, sites: wish.site, gateways: wish.gateway, versions: wish.runs, statuses: wish.state };
  const isGiven = (parts: object): boolean => Object.values(parts).some(part => part !== undefined);
  await change(wish, 'POST', '/v1/rollouts', {
    releaseId: wish.release,
    devices: wish.device,
    groups: wish.group,
    successPercent: wish.success,
    failurePercent: wish.failure,
    maxFailures: wish.maxFailures,
    ratePerMinute: wish.rate,
    deadline: wish.deadline,
    securityUpdate: wish.security,
    permitDowngrade: wish.permitDowngrade,
    permitCounterJump: wish.permitCounterJump,
    windows: wish.window,
    lateJoiners: wish.lateJoiners,
    ...(isGiven(selector) && { selector }),
    ...(ramp !== undefined && { ramp: { firstPerMinute: ramp, doublesEveryMinutes: rampDoubles } }),
    ...(retries !== undefined && { retries: { count: retries, afterMinutes: retryAfter } }),
    ...(isGiven(limits) && { timeLimits: limits }),
  });
}

async function change(options: ServerOptions, method: string, path: string, body?: unknown): Promise<void> {
  await showRollout(options, await ask<Rollout>(options, method, path, body));
}
