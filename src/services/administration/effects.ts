import type { Actor } from '../../domain/actor.ts';
import { deviceStream } from '../../domain/device.ts';
import {
  type Allowance,
  allowanceContent,
  allowanceOf,
  defaultEffectsPerDay,
  type EffectCommand,
  type EffectKind,
  effectsOfPerson,
  effectsStream,
} from '../../domain/effects.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { isWaiting } from '../../domain/proposals.ts';
import { NusecError } from '../../errors.ts';
import { isDryRun } from '../../eventstore/dryRun.ts';
import type { Parts } from '../base/alarms.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Context, execute, newHexId, nowIso, stateOf } from '../base/context.ts';

/** Four eyes by effect (I16): how many devices one person takes out of service, or brings back, within a day. */

/** Always needs a second person: nothing proves the wipe, and the keys are destroyed. */
const neverAlone: ReadonlySet<EffectKind> = new Set(['decommissionWithoutReceipt']);

/** Does a deed that counts for the day of a person. It is counted before, so that several at a time, in several processes, keep the limit; when nothing came of it
 *  (it was refused, or was so already) it does not count any more. What the person did is in the stream of the subject.
 *  @param subject UID of the device, `gateway-{id}` or `programmer-{uid}`
 *  @throws NusecError FOUR_EYES_REQUIRED beyond the limit, with an alarm; and what the deed throws */
export async function counted<Result>(
  parts: Parts,
  { name, effect, subject, recordedIn }: Deed,
  deed: () => Promise<Result>,
): Promise<Result> {
  const { ctx } = parts;
  const limit = neverAlone.has(effect) ? 0 : (ctx.effectsPerDay ?? defaultEffectsPerDay);
  const [at, by] = [nowIso(ctx), `operator:${name}`];
  const use = { type: 'UseEffect', effect, subject, limit, now: at } as const;
  if (isDryRun()) {
    effectsOfPerson.decide(use, await stateOf(ctx, effectsOfPerson, effectsStream(name)));
    return deed();
  }
  const change = (command: EffectCommand) => execute(ctx, effectsOfPerson, effectsStream(name), command, by);
  const stream = recordedIn ?? (subject.includes('-') ? subject : deviceStream(subject));
  const before = (await ctx.store.readStream(stream)).length;
  const { events } = await change(use).catch(async error => {
    if (error instanceof NusecError && error.code === 'FOUR_EYES_REQUIRED')
      await parts.alarms.raise({
        code: 'EFFECT_LIMIT',
        subject: `operator-${name}`,
        detail: `${effect} of ${subject} needs a second person`,
      });
    throw error;
  });
  try {
    return await deed();
  } finally {
    const isDone = (await ctx.store.readStream(stream, before)).some(event => event.by === by);
    // Another request of the same kind may have counted it and found nothing done.
    if (isDone) await change({ ...use, isDone });
    else if (events.length > 0) await change({ type: 'ReturnEffect', effect, subject, at });
  }
}

type Deed = {
  readonly name: string;
  readonly effect: EffectKind;
  readonly subject: string;
  /** Where the deed is recorded; default: that of the subject. */
  readonly recordedIn?: string;
};

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
  return each.flat().filter(({ approvedBy, proposedAt }) => approvedBy === undefined && isWaiting(proposedAt, nowIso(ctx)));
}

/** Of one person, newest first. */
export async function listAllowances(ctx: Context, name: string): Promise<readonly Allowance[]> {
  return [...(await stateOf(ctx, effectsOfPerson, effectsStream(name))).allowances.values()].reverse();
}
