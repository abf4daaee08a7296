import { definedOf } from '../../../defined.ts';
import { defaultTimeLimits } from '../../../domain/rolloutPlan.ts';
import { type SelectorText, selectorForm, selectorOf, windowForm, windowOf } from '../../../domain/rolloutText.ts';
import { NusecError } from '../../../errors.ts';
import type { ReleaseRowAnswer } from '../../releases.ts';
import type { RolloutAnswer } from '../../rollouts.ts';
import type { Actions, Field, Form } from '../actions.ts';
import { facts, id, link } from '../parts.ts';
import { contentAt, contentOf } from './approval.ts';
import { reason } from './deviceActions.ts';
import { planFacts } from './rolloutPlan.ts';
import { stepsOf } from './steps.ts';

/** What release managers do with rollouts: plan, approve, start, pause, abort. */

const dayMinutes = 24 * 60;
const managers = ['releaseManager'] as const;
const { idOf, step } = stepsOf('/v1/rollouts', rolloutId => `/console/rollouts/${rolloutId}`, 12);

const linesOf = (form: Form, name: string): readonly string[] =>
  form
    .text(name)
    ?.split('\n')
    .filter(line => line.trim() !== '') ?? [];

/** @throws NusecError BAD_REQUEST */
function read<Part>(what: string, text: string, part: Part | undefined, wanted: string): Part {
  if (part === undefined) throw new NusecError('BAD_REQUEST', `${what}: ${text} is not of the form ${wanted}`);
  return part;
}
const selectorIn = (what: string, text: string) => read(what, text, selectorOf(text), selectorForm);

/** Each line is a group; percentages may also be beside each other. */
const groupsIn = (form: Form): readonly (number | SelectorText)[] =>
  linesOf(form, 'groups').flatMap<number | SelectorText>(line =>
    /^[\d ]+$/.test(line) ? line.trim().split(/ +/).map(Number) : [selectorIn('groups', line)],
  );

const pairOf = (form: Form, [first, second]: readonly [string, string], names: readonly [string, string]): object | undefined => {
  const value = form.number(first);
  return value === undefined ? undefined : { [names[0]]: value, [names[1]]: form.number(second) ?? usualMinutes };
};

function planOf(form: Form): object {
  const [devices, windows, only] = [form.list('devices'), linesOf(form, 'windows'), form.text('selector')];
  const limits = definedOf(Object.fromEntries(timeLimitNames.map(name => [name, form.number(name)])));
  return {
    releaseId: form.text('releaseId'),
    ...(devices.length > 0 ? { devices } : { groups: groupsIn(form) }),
    ...(only !== undefined && { selector: selectorIn('only', only) }),
    ...(windows.length > 0 && { windows: windows.map(text => read('windows', text, windowOf(text), windowForm)) }),
    ...(Object.keys(limits).length > 0 && { timeLimits: limits }),
    ...definedOf({
      fromRelease: form.text('fromRelease'),
      successPercent: form.number('successPercent'),
      failurePercent: form.number('failurePercent'),
      maxFailures: form.number('maxFailures'),
      ratePerMinute: form.number('ratePerMinute'),
      ramp: pairOf(form, ['rampFirst', 'rampDoubles'], ['firstPerMinute', 'doublesEveryMinutes']),
      retries: pairOf(form, ['retries', 'retryAfter'], ['count', 'afterMinutes']),
      deadline: form.text('deadline') === undefined ? undefined : `${form.text('deadline')}T00:00:00Z`,
    }),
    ...Object.fromEntries(permissions.filter(name => form.text(name) === 'true').map(name => [name, true])),
  };
}

const usualMinutes = 10;
const permissions = ['securityUpdate', 'lateJoiners', 'permitDowngrade', 'permitCounterJump'] as const;
const timeLimitNames = Object.keys(defaultTimeLimits);
const daysOf = (minutes: number): string => (minutes === dayMinutes ? 'a day' : `${minutes / dayMinutes} days`);

/** What few plans need. */
const furtherFields = (releases: readonly ReleaseRowAnswer[]): readonly Field[] => {
  const applications = releases.filter(({ image }) => image === 'app');
  const fields: readonly Field[] = [
    { name: 'selector', label: 'Only devices with', hint: `Such as tag=pilot, site=Example CM. Words: ${selectorForm}` },
    {
      name: 'fromRelease',
      label: 'Only devices that run',
      kind: 'select',
      options: applications.map(one => [one.releaseId, `${one.line} ${one.version}`] as const),
    },
    { name: 'windows', label: 'Only at these times', kind: 'lines', hint: `On each line one: ${windowForm}` },
    { name: 'rampFirst', label: 'Begins with so many offers a minute', kind: 'number' },
    { name: 'rampDoubles', label: 'They double after (minutes)', kind: 'number', hint: `${usualMinutes} when not given` },
    { name: 'retries', label: 'A device that failed is offered it again (times)', kind: 'number' },
    { name: 'retryAfter', label: 'First after (minutes)', kind: 'number', hint: `${usualMinutes} when not given; doubled each time` },
    ...Object.entries(defaultTimeLimits).map(
      ([name, minutes]): Field => ({
        name,
        label: `A device has failed that is ${name} for (minutes)`,
        kind: 'number',
        hint: `${daysOf(minutes)} when not given`,
      }),
    ),
    { name: 'lateJoiners', label: 'Devices that fit later take part, until the deadline', kind: 'check' },
  ];
  return fields.map(field => ({ ...field, isOptional: true, isFurther: true }));
};

export const rolloutActions: Actions = {
  'plan-rollout': {
    label: 'Plan a rollout',
    title: () => 'Plan a rollout',
    about: 'Says who gets a release in which order, and what stops it. Another release manager approves the plan.',
    roles: managers,
    tone: 'primary',
    fields: async visit => {
      const releases = await visit.all<ReleaseRowAnswer>('/v1/releases', 'releases');
      const published = releases.filter(({ status, image }) => status === 'PUBLISHED' && image === 'app');
      return [
        {
          name: 'releaseId',
          label: 'Release',
          kind: 'select',
          options: published.map(one => [one.releaseId, `${one.line} ${one.version}`] as const),
        },
        {
          name: 'groups',
          label: 'Groups, one after the other',
          kind: 'lines',
          value: '1\n10\n100',
          hint: 'On each line one: a percentage of the devices, or words such as tag=pilot. The last percentage takes what remains.',
          isOptional: true,
        },
        { name: 'devices', label: 'Or these devices only', kind: 'lines', isOptional: true, hint: 'One UID on each line, at most 1000.' },
        { name: 'successPercent', label: 'A group passes at (percent upgraded)', kind: 'number', isOptional: true },
        { name: 'failurePercent', label: 'It halts above (percent failed)', kind: 'number', isOptional: true },
        { name: 'maxFailures', label: 'It halts above (devices failed)', kind: 'number', isOptional: true },
        { name: 'ratePerMinute', label: 'At most so many offers a minute', kind: 'number', isOptional: true },
        { name: 'deadline', label: 'It has to be through by', kind: 'date', isOptional: true },
        { name: 'securityUpdate', label: 'It is a security update', kind: 'check' },
        { name: 'permitDowngrade', label: 'It may lead to an older version (never to a lower security counter)', kind: 'check' },
        { name: 'permitCounterJump', label: 'The security counter may rise by more than the step of the line', kind: 'check' },
        ...furtherFields(releases),
      ];
    },
    back: () => '/console/rollouts',
    request: (_, form) => ({ method: 'POST', path: '/v1/rollouts', body: planOf(form) }),
    to: ({ rolloutId }) => `/console/rollouts/${rolloutId}`,
    done: 'The rollout is planned. Another release manager approves it.',
  },
  'approve-rollout': step(
    'approve',
    {
      label: 'Approve',
      verb: 'Approve rollout',
      about: 'Another person than the one who planned it says that it may start.',
      roles: managers,
      tone: 'primary',
      look: async (visit, [rolloutId]) => {
        const rollout = await visit.get<RolloutAnswer>(`/v1/rollouts/${rolloutId}`);
        return facts([
          ['Line', rollout.line],
          ['Release', link(`/console/releases/${rollout.releaseId}`, id(rollout.releaseId, 32))],
          ['Devices', rollout.devices],
          ...planFacts(rollout.plan),
          ['Planned by', rollout.plannedBy],
          ['Content', id(rollout.contentSha256, 32)],
        ]);
      },
      fields: contentAt(rolloutId => `/v1/rollouts/${rolloutId}`),
      done: 'The rollout is approved.',
    },
    contentOf,
  ),
  'start-rollout': step('start', {
    label: 'Start',
    verb: 'Start rollout',
    roles: managers,
    about: 'The first group is offered the release.',
    tone: 'primary',
    done: 'The rollout has started.',
  }),
  'resume-rollout': step('resume', {
    label: 'Resume',
    verb: 'Resume rollout',
    roles: managers,
    about: 'Goes on where it was paused.',
    tone: 'primary',
    done: 'The rollout goes on.',
  }),
  'pause-rollout': step('pause', {
    label: 'Pause',
    verb: 'Pause rollout',
    roles: managers,
    about: 'What has not been delivered is held back. Devices that are at it finish.',
    fields: [reason],
    done: 'The rollout is paused.',
  }),
  'abort-rollout': step('abort', {
    label: 'Abort…',
    verb: 'Abort rollout',
    roles: managers,
    about: 'Ends the rollout: nobody else is offered the release by it. This cannot be undone.',
    tone: 'danger',
    fields: [reason],
    typed: idOf,
    done: 'The rollout is aborted.',
  }),
};
