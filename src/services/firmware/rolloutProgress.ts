import { movesDevice } from '../../domain/deviceStatus.ts';
import { type RolloutRetries, retryPauseMs } from '../../domain/rolloutPace.ts';
import type { ErrorCode } from '../../errors.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import type { RolloutDeviceRow } from '../../projections/rollouts.ts';

/** How far the devices of one rollout are, kept in memory by the events of the devices, so that one event costs one step and not a look at the
 *  whole group. It is built from the read model and repeats nothing: an event that is known already changes nothing. */

/** `waiting`: to be offered. `out`: does not count, as it is out of use, or a better release is on its way to it. */
type Outcome = 'waiting' | 'underway' | 'succeeded' | 'failed' | 'out';

export type Member = {
  readonly uid: string;
  readonly group: number;
  outcome: Outcome;
  /** Offers made before the one at hand. */
  attempt: number;
  offerId: string | undefined;
  status: RolloutDeviceRow['status'] | undefined;
  reason: string | null;
  /** Since when it is in this status, and when it was offered; ms since 1970. */
  sinceMs: number;
  offeredMs: number;
  /** Not offered before: a retry after a failure; ms since 1970. */
  notBeforeMs: number;
  /** Why it got no offer. */
  refusal: ErrorCode | undefined;
};

export type Health = { readonly succeeded: number; readonly failed: number; readonly out: number };

export type RolloutProgress = ReturnType<typeof createRolloutProgress>;

const outcomes: { readonly [Status in RolloutDeviceRow['status']]: Outcome } = {
  offered: 'underway',
  started: 'underway',
  written: 'underway',
  testing: 'underway',
  upgraded: 'succeeded',
  failed: 'failed',
  cancelled: 'out',
};
/** An event of one offer never leads back. */
const ranks: readonly RolloutDeviceRow['status'][] = ['offered', 'started', 'written', 'testing', 'cancelled', 'failed', 'upgraded'];
/** Reasons of a cancellation after which the device is offered the release again when it is back. */
const passing: readonly (string | null)[] = ['quarantined', 'suspended', 'repair'];

/** @param retries of the plan: a device that has failed waits for its next offer as long as there is one */
export function createRolloutProgress(rolloutId: string, retries?: RolloutRetries) {
  const members = new Map<string, Member>();
  const underway = new Set<Member>();
  const waiting = new Set<Member>();
  const counts: { succeeded: number; failed: number; out: number }[] = [];

  const count = ({ group, outcome }: Member, by: 1 | -1): void => {
    const own = counts[group];
    if (own !== undefined && (outcome === 'succeeded' || outcome === 'failed' || outcome === 'out')) own[outcome] += by;
  };
  const move = (member: Member, outcome: Outcome): void => {
    count(member, -1);
    member.outcome = outcome;
    count(member, 1);
    for (const [set, name] of [
      [underway, 'underway'],
      [waiting, 'waiting'],
    ] as const)
      if (outcome === name) set.add(member);
      else set.delete(member);
  };
  /** @returns whether it was news */
  const record = (member: Member, offerId: string, { status, reason }: Pick<Told, 'status' | 'reason'>, atMs: number): boolean => {
    const isKnown = member.offerId === offerId;
    if (isKnown && member.status !== undefined && ranks.indexOf(status) <= ranks.indexOf(member.status)) return false;
    if (!isKnown) {
      member.attempt += member.offerId === undefined ? 0 : 1;
      member.offerId = offerId;
      member.offeredMs = atMs;
    }
    Object.assign(member, { status, reason, sinceMs: atMs, refusal: undefined });
    const isRetried = status === 'failed' && retries !== undefined && member.attempt < retries.count;
    if (isRetried) member.notBeforeMs = atMs + retryPauseMs(retries, member.attempt);
    move(member, isRetried ? 'waiting' : outcomes[status]);
    return true;
  };
  /** Something else has happened to it: what was said of it may not be so any more. */
  const reconsider = (member: Member): boolean => {
    const isBack = member.outcome === 'out' && (member.status === undefined || passing.includes(member.reason));
    if (!isBack && (member.outcome !== 'waiting' || member.refusal === undefined)) return false;
    member.refusal = undefined;
    move(member, 'waiting');
    return true;
  };

  return {
    addGroup(group: number, uids: readonly string[]): void {
      counts[group] ??= { succeeded: 0, failed: 0, out: 0 };
      for (const uid of uids) {
        if (members.has(uid)) continue;
        const member: Member = {
          uid,
          group,
          outcome: 'waiting',
          attempt: 0,
          offerId: undefined,
          status: undefined,
          reason: null,
          sinceMs: 0,
          offeredMs: 0,
          notBeforeMs: 0,
          refusal: undefined,
        };
        members.set(uid, member);
        waiting.add(member);
      }
    },
    /** Rows of one device come in the order of its offers. */
    addRow({ uid, offer_id, status, reason, offered_at, changed_at }: RolloutDeviceRow): void {
      const member = members.get(uid);
      if (member === undefined) return;
      record(member, offer_id, { status, reason }, Date.parse(changed_at));
      member.offeredMs = Date.parse(offered_at);
    },
    /** @returns whether it changes where a device of this rollout is */
    apply(event: Recorded): boolean {
      const member = members.get(uidOf(event.stream));
      if (member === undefined) return false;
      const told = statusOf(event);
      const isOwn = told !== undefined && (told.offerId === member.offerId || told.rolloutId === rolloutId);
      // Of an offer that came before the one at hand, only its late evidence matters.
      const mayBe = told?.status === 'offered' || told?.status === 'upgraded' || told?.offerId === member.offerId;
      if (!isOwn) return (told !== undefined || movesDevice(event.type)) && reconsider(member);
      if (!mayBe) return false;
      const offerId = told.status === 'offered' ? told.offerId : (member.offerId ?? told.offerId);
      return record(member, offerId, told, Date.parse(event.at));
    },
    offered(member: Member, offerId: string, atMs: number): void {
      record(member, offerId, { status: 'offered', reason: null }, atMs);
    },
    /** It gets no offer now. @param outcome what that means for the count */
    refuse(member: Member, code: ErrorCode, outcome: Outcome): void {
      member.refusal = code;
      move(member, outcome);
    },
    /** Everything that was refused is tried again. */
    reconsiderAll(): void {
      for (const member of members.values()) reconsider(member);
    },
    member: (uid: string): Member | undefined => members.get(uid),
    has: (uid: string): boolean => members.has(uid),
    /** To be offered now, and not refused until something happens to them. */
    toOffer: (nowMs: number): readonly Member[] =>
      [...waiting].filter(({ refusal, notBeforeMs }) => refusal === undefined && notBeforeMs <= nowMs),
    /** When one of them is to be offered next, now or later; undefined when none is. */
    nextOfferMs(): number | undefined {
      let next: number | undefined;
      for (const { refusal, notBeforeMs } of waiting) if (refusal === undefined) next = Math.min(next ?? notBeforeMs, notBeforeMs);
      return next;
    },
    groupCount: (): number => counts.length,
    underway: (): ReadonlySet<Member> => underway,
    /** Devices whose end is still to come. */
    openCount: (): number => underway.size + waiting.size,
    health: (group: number): Health => counts[group] ?? { succeeded: 0, failed: 0, out: 0 },
    refusals: (): ReadonlyMap<string, ErrorCode> =>
      new Map([...members.values()].flatMap(({ uid, refusal }) => (refusal === undefined ? [] : [[uid, refusal] as const]))),
  };
}

const streamPrefix = 'device-';
const uidOf = (stream: string): string => (stream.startsWith(streamPrefix) ? stream.slice(streamPrefix.length) : '');

type Told = {
  readonly offerId: string;
  readonly rolloutId: string | undefined;
  readonly status: RolloutDeviceRow['status'];
  readonly reason: string | null;
};

function statusOf(event: Recorded): Told | undefined {
  switch (event.type) {
    case 'FirmwareOffered':
      return told(event.data, 'offered');
    case 'UpgradeStarted':
      return told(event.data, 'started');
    case 'UpgradeAdvanced':
      return told(event.data, event.data.phase === 'downloading' ? 'started' : event.data.phase);
    case 'FirmwareUpgraded':
      return told(event.data, 'upgraded');
    case 'UpgradeFailed':
      return told(event.data, 'failed', event.data.reason);
    case 'UpgradeCancelled':
      return told(event.data, 'cancelled', event.data.reason);
    default:
      return undefined;
  }
}

function told(
  { offerId, rolloutId }: { readonly offerId: string; readonly rolloutId?: string },
  status: Told['status'],
  reason: string | null = null,
): Told {
  return { offerId, rolloutId, status, reason };
}
