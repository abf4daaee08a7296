import type { Actor } from '../../domain/actor.ts';
import {
  type Allowance,
  allowanceContent,
  allowanceOf,
  defaultEffectsPerDay,
  type EffectKind,
  effectsOfPerson,
  effectsStream,
  isToday,
} from '../../domain/effects.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { NusecError } from '../../errors.ts';
import type { Parts } from '../base/alarms.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Context, execute, newHexId, nowIso, stateOf } from '../base/context.ts';

/** Four eyes by effect (I16): how many devices one person takes out of service, or brings back, within a day. */

/** Always needs a second person: nothing proves the wipe, and the keys are destroyed. */
const neverAlone: ReadonlySet<EffectKind> = new Set(['decommissionWithoutReceipt']);

/** Counts a deed before it is done. @param name of the person @param subject UID of the device, `gateway-{id}` or `programmer-{uid}`
 *  @throws NusecError FOUR_EYES_REQUIRED beyond the limit, with an alarm */
export async function useEffect({ ctx, alarms }: Parts, name: string, effect: EffectKind, subject: string): Promise<void> {
  const limit = neverAlone.has(effect) ? 0 : (ctx.effectsPerDay ?? defaultEffectsPerDay);
  const command = { type: 'UseEffect', effect, subject, limit, now: nowIso(ctx) } as const;
  try {
    await execute(ctx, effectsOfPerson, effectsStream(name), command, `operator:${name}`);
  } catch (error) {
    if (error instanceof NusecError && error.code === 'FOUR_EYES_REQUIRED')
      await alarms.raise({ code: 'EFFECT_LIMIT', subject: `operator-${name}`, detail: `${effect} of ${subject} needs a second person` });
    throw error;
  }
}

export type AllowanceWish = { readonly effect: EffectKind; readonly count: number; readonly note: string };

export async function proposeAllowance(ctx: Context, name: string, wish: AllowanceWish): Promise<Allowance> {
  const [id, by] = [newHexId(ctx), `operator:${name}`];
  const command = { type: 'ProposeEffectAllowance', id, ...wish, by, now: nowIso(ctx) } as const;
  return allowanceOf((await execute(ctx, effectsOfPerson, effectsStream(name), command, by)).state, id);
}

/** @param name of the person who may do more @throws NusecError FOUR_EYES_REQUIRED, STATE, NOT_FOUND, CONFLICT (not what was seen) */
export async function approveAllowance(ctx: Context, name: string, id: string, by: Actor, approval?: Approval): Promise<Allowance> {
  const stream = effectsStream(name);
  const { state } = await approve(
    ctx,
    {
      decider: effectsOfPerson,
      stream,
      content: async () => allowanceContent(allowanceOf(await stateOf(ctx, effectsOfPerson, stream), id)),
      command: content => ({ type: 'ApproveEffectAllowance' as const, id, by, now: nowIso(ctx), content }),
    },
    by,
    approval,
  );
  return allowanceOf(state, id);
}

/** Proposed by anybody, not approved yet and not too old to be. Newest first for each person. */
export async function listOpenAllowances(ctx: Context): Promise<readonly (Allowance & { readonly name: string })[]> {
  const { byName } = await stateOf(ctx, operators, operatorsStream);
  const each = await Promise.all([...byName.keys()].map(async name => (await listAllowances(ctx, name)).map(one => ({ ...one, name }))));
  return each.flat().filter(({ approvedBy, proposedAt }) => approvedBy === undefined && isToday(proposedAt, nowIso(ctx)));
}

/** Of one person, newest first. */
export async function listAllowances(ctx: Context, name: string): Promise<readonly Allowance[]> {
  return [...(await stateOf(ctx, effectsOfPerson, effectsStream(name))).allowances.values()].reverse();
}
