import type { Actor } from '../../domain/actor.ts';
import { type ParkedEvent, type ParkedPlace, parkedEvents, parkedEventsStream, parkedId } from '../../domain/parkedEvents.ts';
import type { Role } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import { readModelFollower } from '../../projections/runner.ts';
import { type Condition, type Context, executeIf, nowIso, stateOf } from '../base/context.ts';
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

/** Proposes that a follower skips the event it is stopped at, or approves what another person has proposed.
 *  @param name of the person, who was identified
 *  @throws NusecError NOT_FOUND (no such follower), STATE (it is not stopped at this event), FOUR_EYES_REQUIRED (not let in then), RATE_LIMITED */
export async function parkEvent(ctx: Context, place: ParkedPlace, reason: string, name: string): Promise<ParkedEvent> {
  const id = parkedId(place);
  const by: Actor = `operator:${name}`;
  const known = (await stateOf(ctx, parkedEvents, parkedEventsStream)).byId.get(id);
  if (known?.status !== 'PARKED') requireStandsBefore(ctx, place);
  const approver: Condition = async read => {
    const proposed = (await read(parkedEvents, parkedEventsStream)).byId.get(id);
    if (proposed === undefined || proposed.proposedBy === by) return;
    await earlierApprover(ctx, name, [parkingRole], proposalIn(parkedEventsStream, 'EventParkingProposed', id))(read);
  };
  const command = { type: 'ParkEvent', ...place, reason, by, now: nowIso(ctx) } as const;
  const { state } = await executeIf(ctx, approver, parkedEvents, parkedEventsStream, command, by);
  return state.byId.get(id) as ParkedEvent;
}

function requireStandsBefore(ctx: Context, { follower, position }: ParkedPlace): void {
  const state = followerStates(ctx).find(({ name }) => name === follower);
  if (state === undefined) throw new NusecError('NOT_FOUND', `there is no follower ${follower}`);
  if (state.standsBefore === position) return;
  const where = state.standsBefore === undefined ? 'no event' : `event ${state.standsBefore}`;
  throw new NusecError('STATE', `${follower} stands before ${where}, not before event ${position}`);
}
