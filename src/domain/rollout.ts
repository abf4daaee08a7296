import type { Actor, IsoTime } from './actor.ts';
import { type ApprovedContent, contentOfApproval, requireApproved } from './approval.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import { counted, failureOf, type GroupHealth, reaches } from './rolloutHealth.ts';
import { type OffersMade, offersAllowed, offersLately } from './rolloutPace.ts';
import { type RolloutPlan, requirePlan, rolloutContent } from './rolloutPlan.ts';
import { isPast, refuse, requireCount, requireOtherPerson } from './rules.ts';
import { statusAfter, type Walk } from './walk.ts';

/** A rollout of one release over groups of devices. Stream `rollout-{id}`.
 *  PLANNED → APPROVED → RUNNING ⇄ PAUSED;  RUNNING or PAUSED → COMPLETED | HALTED;  before the end → ABORTED
 *  Progress is a projection; the caller brings the counts, a device counts as succeeded only by attestation. */

export type GroupStart = {
  /** Index in the plan: 0, 1, 2 … */
  readonly group: number;
  readonly deviceCount: number;
  /** SHA-256 of the list of UIDs; the list is a blob. */
  readonly devicesSha256: string;
};

export type RolloutEvent =
  | { readonly type: 'RolloutPlanned'; readonly data: RolloutPlan & { readonly plannedBy: string } }
  /** `contentSha256`: SHA-256 of the plan (`rolloutContent`) that was approved. */
  | { readonly type: 'RolloutApproved'; readonly data: { readonly by: Actor; readonly contentSha256?: string } }
  | { readonly type: 'RolloutStarted'; readonly data: { readonly by: Actor } }
  | { readonly type: 'GroupStarted'; readonly data: GroupStart }
  /** Devices that came later: number and list of all devices of the group now. */
  | { readonly type: 'DevicesJoined'; readonly data: GroupStart }
  /** Of a rollout with a rate, with the offers themselves in one commit. `at`: when all of them were made. */
  | { readonly type: 'OffersCounted'; readonly data: OffersMade }
  | { readonly type: 'GroupPassed'; readonly data: GroupHealth }
  | { readonly type: 'RolloutPaused'; readonly data: { readonly reason: string; readonly by: Actor } }
  | { readonly type: 'RolloutResumed'; readonly data: { readonly by: Actor } }
  | { readonly type: 'RolloutHalted'; readonly data: GroupHealth & { readonly reason: string } }
  | { readonly type: 'RolloutCompleted'; readonly data: { readonly groups: number } }
  | { readonly type: 'RolloutAborted'; readonly data: { readonly reason: string; readonly by: Actor } };

export type RolloutCommand =
  | ({ readonly type: 'PlanRollout'; readonly by: Actor } & RolloutPlan)
  | { readonly type: 'ApproveRollout'; readonly by: Actor; readonly content?: ApprovedContent }
  | { readonly type: 'StartRollout'; readonly by: Actor; readonly contentSha256?: string }
  | ({ readonly type: 'StartGroup' } & GroupStart)
  | ({ readonly type: 'JoinDevices' } & GroupStart)
  | ({ readonly type: 'CountOffers' } & OffersMade)
  /** `underway`: devices of any group that has started, whose end is still to come. */
  | ({ readonly type: 'RecordGroupHealth'; readonly underway?: number } & GroupHealth)
  /** The release is withdrawn. */
  | ({ readonly type: 'HaltRollout'; readonly reason: string } & GroupHealth)
  /** No device is there for the group that is next, but others are to come. `devicesSha256`: of the empty list. */
  | { readonly type: 'SkipGroup'; readonly group: number; readonly devicesSha256: string }
  /** No device is left for the group that is next. */
  | { readonly type: 'EndWithoutGroup'; readonly group: number; readonly reason: string }
  | ({ readonly type: 'ReachDeadline'; readonly now: IsoTime; readonly by: Actor } & GroupHealth)
  | { readonly type: 'PauseRollout'; readonly reason: string; readonly by: Actor }
  | { readonly type: 'ResumeRollout'; readonly by: Actor }
  | { readonly type: 'AbortRollout'; readonly reason: string; readonly by: Actor };

export const rolloutStatuses = ['PLANNED', 'APPROVED', 'RUNNING', 'PAUSED', 'HALTED', 'COMPLETED', 'ABORTED'] as const;
export type RolloutStatus = (typeof rolloutStatuses)[number];

export const rolloutWalk: Walk<RolloutEvent, RolloutStatus> = {
  RolloutApproved: 'APPROVED',
  RolloutStarted: 'RUNNING',
  RolloutPaused: 'PAUSED',
  RolloutResumed: 'RUNNING',
  RolloutHalted: 'HALTED',
  RolloutCompleted: 'COMPLETED',
  RolloutAborted: 'ABORTED',
};

export type PlannedRollout = RolloutPlan & {
  readonly status: RolloutStatus;
  readonly plannedBy: string;
  readonly approvedBy?: string;
  readonly approvedSha256?: string;
  /** Groups that have started, and how many of them have passed. */
  readonly started: readonly GroupStart[];
  readonly passed: number;
  /** Where the plan has a rate: when the first offers were made, and those of the last minute before the newest. */
  readonly firstOfferAt?: IsoTime;
  readonly lately?: readonly OffersMade[];
};
export type RolloutState = { readonly status: 'NONE' } | PlannedRollout;

export const rolloutStream = (rolloutId: string): string => `rollout-${rolloutId}`;

function decide(command: RolloutCommand, state: RolloutState): readonly RolloutEvent[] {
  if (command.type === 'PlanRollout') return plan(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such rollout');
  switch (command.type) {
    case 'ApproveRollout': {
      const approved = contentOfApproval(command.content, rolloutContent(state));
      if (state.approvedBy !== undefined) return [];
      requireStatus(state, ['PLANNED'], 'approving');
      requireOtherPerson(state.plannedBy, command.by, 'approving the rollout');
      return [{ type: 'RolloutApproved', data: { by: command.by, ...approved } }];
    }
    case 'StartRollout':
      if (state.status === 'RUNNING') return [];
      requireStatus(state, ['APPROVED'], 'starting');
      requireApproved(state.approvedSha256, command.contentSha256);
      return [{ type: 'RolloutStarted', data: { by: command.by } }];
    case 'StartGroup':
      return startGroup(command, state);
    case 'JoinDevices':
      return joinDevices(command, state);
    case 'CountOffers':
      return countOffers(command, state);
    case 'RecordGroupHealth':
      return recordHealth(command, state);
    case 'HaltRollout':
      return halt(command, state);
    case 'SkipGroup':
      return skipGroup(command, state);
    case 'EndWithoutGroup':
      return endWithoutGroup(command, state);
    case 'ReachDeadline':
      return reachDeadline(command, state);
    case 'PauseRollout':
      if (state.status === 'PAUSED') return [];
      requireStatus(state, ['RUNNING'], 'pausing');
      return [{ type: 'RolloutPaused', data: { reason: command.reason, by: command.by } }];
    case 'ResumeRollout':
      if (state.status === 'RUNNING') return [];
      requireStatus(state, ['PAUSED'], 'resuming');
      return [{ type: 'RolloutResumed', data: { by: command.by } }];
    case 'AbortRollout':
      if (state.status === 'ABORTED') return [];
      requireStatus(state, ['PLANNED', 'APPROVED', 'RUNNING', 'PAUSED', 'HALTED'], 'aborting');
      return [{ type: 'RolloutAborted', data: { reason: command.reason, by: command.by } }];
  }
}

function plan({ type: _, by, ...data }: Of<RolloutCommand, 'PlanRollout'>, state: RolloutState): readonly RolloutEvent[] {
  if (state.status !== 'NONE') {
    const same = state.releaseId === data.releaseId && state.plannedBy === by && state.groups.length === data.groups.length;
    return same ? [] : refuse('CONFLICT', 'this rollout id is taken');
  }
  requirePlan(data);
  return [{ type: 'RolloutPlanned', data: { ...data, plannedBy: by } }];
}

/** Groups start in the order of the plan, each after the one before has passed. */
function startGroup({ type: _, ...data }: Of<RolloutCommand, 'StartGroup'>, state: PlannedRollout): readonly RolloutEvent[] {
  if (state.started[data.group]?.devicesSha256 === data.devicesSha256) return [];
  requireStatus(state, ['RUNNING'], 'starting a group');
  requireCount(data.deviceCount, 1, 'the number of devices');
  const next = state.started.length;
  if (data.group !== next || next >= state.groups.length) refuse('CONFLICT', `group ${data.group} is not the next one`);
  if (state.passed < next) refuse('STATE', 'the group before has not passed');
  return [{ type: 'GroupStarted', data }];
}

/** An empty group tests nothing, so the first one is passed over only where devices are still to come; the last one waits for them. */
function skipGroup({ group, devicesSha256 }: Of<RolloutCommand, 'SkipGroup'>, state: PlannedRollout): readonly RolloutEvent[] {
  if (group < state.started.length) return [];
  requireStatus(state, ['RUNNING'], 'passing over a group');
  if (group !== state.started.length || state.passed < group || group >= state.groups.length - 1)
    refuse('STATE', 'this group is not passed over');
  if (group === 0 && state.lateJoiners !== true) refuse('STATE', 'the first group tests the release');
  return [
    { type: 'GroupStarted', data: { group, deviceCount: 0, devicesSha256 } },
    { type: 'GroupPassed', data: { group, succeeded: 0, failed: 0 } },
  ];
}

/** Only the last group grows, and only by more devices. */
function joinDevices({ type: _, ...data }: Of<RolloutCommand, 'JoinDevices'>, state: PlannedRollout): readonly RolloutEvent[] {
  const before = state.started[data.group];
  if (before?.devicesSha256 === data.devicesSha256) return [];
  requireStatus(state, ['RUNNING'], 'joining');
  const isLast = data.group === state.groups.length - 1 && before !== undefined;
  if (!isLast || state.lateJoiners !== true) refuse('STATE', 'devices join the last group of a rollout that lets them');
  if (data.deviceCount <= before.deviceCount) refuse('CONFLICT', 'others have joined meanwhile');
  return [{ type: 'DevicesJoined', data }];
}

/** Who makes offers counts them here in the same commit, so that several processes together make no more than one would. */
function countOffers({ type: _, ...data }: Of<RolloutCommand, 'CountOffers'>, state: PlannedRollout): readonly RolloutEvent[] {
  if (data.count === 0) return [];
  requireStatus(state, ['RUNNING'], 'making offers');
  if (data.count > offersAllowed(state, data.at)) refuse('CONFLICT', 'these are more offers than the plan allows in a minute');
  return [{ type: 'OffersCounted', data }];
}

/** The health gate. After the last group the rollout is done as soon as no device is under way any more. */
function recordHealth(command: Of<RolloutCommand, 'RecordGroupHealth'>, state: PlannedRollout): readonly RolloutEvent[] {
  const { type: _, underway = 0, ...health } = command;
  const { deviceCount } = state.started[health.group] ?? refuse('STATE', 'this group has not started');
  if (isEnded(state) && state.status !== 'ABORTED') return [];
  const hasPassed = health.group < state.passed;
  if (hasPassed && health.group < state.groups.length - 1) return [];
  requireStatus(state, ['RUNNING', 'PAUSED'], 'judging a group');
  const reason = failureOf(health, deviceCount, state.thresholds);
  if (reason !== undefined) return [{ type: 'RolloutHalted', data: { ...health, reason } }];
  if (!hasPassed && !reaches(health.succeeded, health, deviceCount, state.thresholds)) return unreachable(health, deviceCount, state);
  const passed: readonly RolloutEvent[] = hasPassed ? [] : [{ type: 'GroupPassed', data: health }];
  const isDone = health.group === state.groups.length - 1 && underway === 0 && state.lateJoiners !== true;
  return isDone ? [...passed, completed(state)] : passed;
}

const completed = ({ groups }: PlannedRollout): RolloutEvent => ({ type: 'RolloutCompleted', data: { groups: groups.length } });

export const isEnded = ({ status }: PlannedRollout): boolean => status === 'HALTED' || status === 'COMPLETED' || status === 'ABORTED';

/** A group has a verdict as soon as no outcome of the devices that are left can change it. */
function unreachable(health: GroupHealth, deviceCount: number, { thresholds }: PlannedRollout): readonly RolloutEvent[] {
  if (reaches(counted(deviceCount, health) - health.failed, health, deviceCount, thresholds)) return [];
  const isEmpty = counted(deviceCount, health) === 0;
  const reason = isEmpty ? 'no device of the group counts any more' : `the group can no longer reach ${thresholds.successPercent} %`;
  return [{ type: 'RolloutHalted', data: { ...health, reason } }];
}

/** From outside: the release is withdrawn. Before the first group there is nothing to count. */
function halt({ type: _, ...data }: Of<RolloutCommand, 'HaltRollout'>, state: PlannedRollout): readonly RolloutEvent[] {
  return isEnded(state) ? [] : [{ type: 'RolloutHalted', data }];
}

/** What has passed was all there is; a rollout that had no device at all has failed its purpose. */
function endWithoutGroup({ group, reason }: Of<RolloutCommand, 'EndWithoutGroup'>, state: PlannedRollout): readonly RolloutEvent[] {
  if (isEnded(state)) return [];
  if (group !== state.started.length || state.passed < group) refuse('STATE', 'a group is under way');
  return [group > 0 ? completed(state) : { type: 'RolloutHalted', data: { group, succeeded: 0, failed: 0, reason } }];
}

function reachDeadline(command: Of<RolloutCommand, 'ReachDeadline'>, state: PlannedRollout): readonly RolloutEvent[] {
  const { type: _, now, by, ...health } = command;
  if (isEnded(state)) return [];
  if (state.deadline === undefined || !isPast(state.deadline, now)) refuse('STATE', 'the deadline has not passed');
  const reason = 'the deadline has passed';
  if (state.status === 'PLANNED' || state.status === 'APPROVED') return [{ type: 'RolloutAborted', data: { reason, by } }];
  if (state.passed === state.groups.length) return [completed(state)];
  if (hasWaited(state)) return [completed(state)];
  if (passesLast(health, state)) return [{ type: 'GroupPassed', data: health }, completed(state)];
  return [{ type: 'RolloutHalted', data: { ...health, reason } }];
}

/** What there was has passed, and nobody came for the last group. */
const hasWaited = ({ lateJoiners, passed, groups, started }: PlannedRollout): boolean =>
  lateJoiners === true && passed === started.length && passed === groups.length - 1 && started.some(({ deviceCount }) => deviceCount > 0);

/** Whether the last group passes by what is known now. */
function passesLast(health: GroupHealth, { groups, started, passed, thresholds }: PlannedRollout): boolean {
  const { deviceCount } = started[groups.length - 1] ?? {};
  if (deviceCount === undefined || passed !== groups.length - 1 || health.group !== passed) return false;
  return failureOf(health, deviceCount, thresholds) === undefined && reaches(health.succeeded, health, deviceCount, thresholds);
}

function evolve(state: RolloutState, event: RolloutEvent): RolloutState {
  if (event.type === 'RolloutPlanned') return { ...event.data, status: 'PLANNED', started: [], passed: 0 };
  if (state.status === 'NONE') return state;
  return withFacts({ ...state, status: statusAfter(rolloutWalk, state.status, event.type) }, event);
}

function withFacts(state: PlannedRollout, event: RolloutEvent): PlannedRollout {
  switch (event.type) {
    case 'RolloutApproved': {
      const { by: approvedBy, contentSha256 } = event.data;
      return { ...state, approvedBy, ...(contentSha256 !== undefined && { approvedSha256: contentSha256 }) };
    }
    case 'GroupStarted':
      return { ...state, started: [...state.started, event.data] };
    case 'DevicesJoined':
      return { ...state, started: state.started.map(before => (before.group === event.data.group ? event.data : before)) };
    case 'OffersCounted':
      return { ...state, firstOfferAt: state.firstOfferAt ?? event.data.at, lately: offersLately(state.lately, event.data) };
    case 'GroupPassed':
      return { ...state, passed: state.passed + 1 };
    default:
      return state;
  }
}

export const rollout: Decider<RolloutCommand, RolloutState, RolloutEvent> = { initialState: { status: 'NONE' }, decide, evolve };
