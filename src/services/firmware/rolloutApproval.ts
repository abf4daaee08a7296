import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { rollout, rolloutStream } from '../../domain/rollout.ts';
import { rolloutContent } from '../../domain/rolloutPlan.ts';
import { type Approval, approve } from '../base/approval.ts';
import type { Context } from '../base/context.ts';
import { rolloutOf } from './rolloutPlan.ts';

/** The plan of a rollout is approved as one content, and only that is started (I16). */

/** @throws NusecError FOUR_EYES_REQUIRED, STATE, CONFLICT when the plan is not what was seen */
export async function approveRollout(ctx: Context, rolloutId: string, by: Actor, approval?: Approval): Promise<void> {
  await approve(
    ctx,
    {
      decider: rollout,
      stream: rolloutStream(rolloutId),
      content: async () => rolloutContent(await rolloutOf(ctx, rolloutId)),
      command: content => ({ type: 'ApproveRollout' as const, by, content }),
    },
    by,
    approval,
  );
}

/** SHA-256 of what an approval approves. @throws NusecError NOT_FOUND */
export const planSha256 = async (ctx: Context, rolloutId: string): Promise<string> =>
  sha256Hex(rolloutContent(await rolloutOf(ctx, rolloutId)));
