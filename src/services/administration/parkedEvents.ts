import type { Actor } from '../../domain/actor.ts';
import {
  isStanding,
  type ParkedEvent,
  type ParkedPlace,
  parkedContent,
  parkedEvents,
  parkedEventsStream,
  parkedId,
} from '../../domain/parkedEvents.ts';
import type { Role } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { readModelFollower } from '../../projections/runner.ts';
import { approvedContent, requireNothingSeen } from '../base/approval.ts';
import { type Context, executeOn, nowIso, stateOf } from '../base/context.ts';
import { earlierApprover, proposalIn } from './approvals.ts';

/** Followers of the log that are stopped at an event they cannot handle, and the events that people have parked for them. */

/** Who may propose and who may approve that a follower skips an event. */
export const parkingRole: Role = 'securityOfficer';

/** `standsBefore`: position of the event it cannot handle. */
export type FollowerState = {
  readonly name: string;
  readonly position: number;
  readonly behindEvents: number;
  readonly failure?: string;
  readonly standsBefore?: number;
};

/** All followers of this process, read models among them. */
export function followerStates(ctx: Context): readonly FollowerState[] {
  const readModels = ctx.reads.health().projections.map(({ name, position, behindEvents, fault }) => ({
    name: readModelFollower(name),
    position,
    behindEvents,
    ...(fault && { failure: fault.message, standsBefore: fault.position }),
  }));
  const own = new Set(readModels.map(({ name }) => name));
  return [...ctx.followers.states().filter(({ name }) => !own.has(name)), ...readModels];
}

export async function listParkedEvents(ctx: Context): Promise<readonly ParkedEvent[]> {
  return [...(await stateOf(ctx, parkedEvents, parkedEventsStream)).byId.values()].reverse();
}

/** @property reason of who asks @property seenSha256 hash of the proposal that the approver looked at */
export type ParkingWish = ParkedPlace & { readonly reason: string; readonly seenSha256?: string | undefined };

/** Proposes that a follower skips the event it is stopped at, or approves what another person has proposed.
 *  @param name of the person, who was identified
 *  @throws NusecError NOT_FOUND (no such follower), STATE (it is not stopped at this event), FOUR_EYES_REQUIRED (not let in then), CONFLICT (not what
 *  was seen), RATE_LIMITED */
export async function parkEvent(ctx: Context, { seenSha256, ...wish }: ParkingWish, name: string): Promise<ParkedEvent> {
  const place = { follower: wish.follower, position: wish.position };
  const id = parkedId(place);
  const by: Actor = `operator:${name}`;
  const known = (await stateOf(ctx, parkedEvents, parkedEventsStream)).byId.get(id);
  if (known?.status !== 'PARKED') requireStandsBefore(ctx, place);
  const commandOf = async (read: Read) => {
    const command = { type: 'ParkEvent', ...wish, by, now: nowIso(ctx) } as const;
    const proposed = (await read(parkedEvents, parkedEventsStream)).byId.get(id);
    if (!isStanding(proposed, command.now)) {
      requireNothingSeen(seenSha256);
      return command;
    }
    if (proposed.proposedBy === by) return command;
    await earlierApprover(ctx, name, [parkingRole], proposalIn(parkedEventsStream, 'EventParkingProposed', id))(read);
    return { ...command, content: approvedContent(parkedContent(proposed), seenSha256) };
  };
  const { state } = await executeOn(ctx, parkedEvents, parkedEventsStream, commandOf, by);
  return state.byId.get(id) as ParkedEvent;
}

function requireStandsBefore(ctx: Context, { follower, position }: ParkedPlace): void {
  const state = followerStates(ctx).find(({ name }) => name === follower);
  if (state === undefined) throw new NusecError('NOT_FOUND', `there is no follower ${follower}`);
  if (state.standsBefore === position) return;
  const where = state.standsBefore === undefined ? 'no event' : `event ${state.standsBefore}`;
  throw new NusecError('STATE', `${follower} stands before ${where}, not before event ${position}`);
}
