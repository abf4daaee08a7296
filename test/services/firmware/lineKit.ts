import type { LineChange } from '../../../src/domain/lineChange.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { approveLineChange, changeLine } from '../../../src/services/firmware/lineChanges.ts';

/** Changes a line as two people do. */
export async function changeByTwo(ctx: Context, name: string, change: LineChange): Promise<void> {
  const { isProposed } = await changeLine(ctx, name, change, 'operator:rita');
  if (isProposed) await approveLineChange(ctx, name, 'operator:rolf');
}
