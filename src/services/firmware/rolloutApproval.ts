import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { rollout, rolloutContent, rolloutStream } from '../../domain/rollout.ts';
import type { Read } from '../../eventstore/handle.ts';
import { approvedContent } from '../base/approvedContent.ts';
import { type Condition, type Context, executeOn } from '../base/context.ts';
import { rolloutOf } from './rolloutPlan.ts';

/** The plan of a rollout is approved as one content, and only that is started (I16). */

/** @param condition of the approver @param seenSha256 of the plan that the approver saw
 *  @throws NusecError FOUR_EYES_REQUIRED, STATE, CONFLICT when the plan is not what was seen */
export async function approveRollout(
  ctx: Context,
  rolloutId: string,
  by: Actor,
  condition: Condition,
  seenSha256?: string | undefined,
): Promise<void> {
  const commandOf = async (read: Read) => {
    await condition(read);
    const content = approvedContent(rolloutContent(await rolloutOf(ctx, rolloutId)), seenSha256);
    return { type: 'ApproveRollout' as const, by, content };
  };
  await executeOn(ctx, rollout, rolloutStream(rolloutId), commandOf, by);
}

/** SHA-256 of what an approval approves. @throws NusecError NOT_FOUND */
export const planSha256 = async (ctx: Context, rolloutId: string): Promise<string> =>
  sha256Hex(rolloutContent(await rolloutOf(ctx, rolloutId)));
