/** The device's side of the pull: which blocks are there, which are asked for, what to ask next. Pure; the device keeps `have` in flash
 *  and resumes after a restart. */

/** Most blocks in one request. */
export const maxBlocksPerRequest = 8;

type Ask = { readonly atMs: number; readonly tries: number };

export type BlockPlan = {
  readonly blocks: number;
  /** One bit per block, lowest bit first. */
  readonly have: Uint8Array;
  readonly asked: ReadonlyMap<number, Ask>;
};

export type PullRules = {
  /** Most blocks requested at the same time. */
  readonly windowBlocks: number;
  /** After this long without an answer a block is asked for again. */
  readonly timeoutMs: number;
  /** After so many askings of one block the pull has failed. */
  readonly maxTries: number;
};

export type Run = { readonly first: number; readonly count: number };
export type PullStep = { readonly plan: BlockPlan; readonly runs: readonly Run[]; readonly failed: boolean };

/** @param have  bitmap kept from before; bits beyond the last block are dropped */
export function newBlockPlan(blocks: number, have?: Uint8Array): BlockPlan {
  const bitmap = new Uint8Array(Math.ceil(blocks / 8));
  bitmap.set((have ?? bitmap).subarray(0, bitmap.length));
  const spareBits = bitmap.length * 8 - blocks;
  if (bitmap.length > 0) bitmap[bitmap.length - 1] = (bitmap[bitmap.length - 1] ?? 0) & (0xff >> spareBits);
  return { blocks, have: bitmap, asked: new Map() };
}

export const hasBlock = (plan: BlockPlan, index: number): boolean => (((plan.have[index >> 3] ?? 0) >> (index & 7)) & 1) === 1;

export const missingBlocks = (plan: BlockPlan): readonly number[] =>
  Array.from({ length: plan.blocks }, (_, index) => index).filter(index => !hasBlock(plan, index));

export const isComplete = (plan: BlockPlan): boolean => missingBlocks(plan).length === 0;

/** What to ask for now, lowest blocks first, as runs of at most `maxBlocksPerRequest`.
 *  @returns failed when a block was asked for `maxTries` times in vain; then nothing is asked any more */
export function nextRequests(plan: BlockPlan, nowMs: number, rules: PullRules): PullStep {
  const isWaiting = (ask: Ask | undefined): boolean => ask !== undefined && nowMs - ask.atMs < rules.timeoutMs;
  const missing = missingBlocks(plan);
  const due = missing.filter(index => !isWaiting(plan.asked.get(index)));
  if (due.some(index => (plan.asked.get(index)?.tries ?? 0) >= rules.maxTries)) return { plan, runs: [], failed: true };
  const chosen = due.slice(0, Math.max(0, rules.windowBlocks - (missing.length - due.length)));
  const asked = new Map(plan.asked);
  for (const index of chosen) asked.set(index, { atMs: nowMs, tries: (plan.asked.get(index)?.tries ?? 0) + 1 });
  return { plan: { ...plan, asked }, runs: toRuns(chosen), failed: false };
}

/** A valid block has come. A repeated one changes nothing. */
export function blockArrived(plan: BlockPlan, index: number): BlockPlan {
  if (index < 0 || index >= plan.blocks || hasBlock(plan, index)) return plan;
  const have = plan.have.slice();
  have[index >> 3] = (have[index >> 3] ?? 0) | (1 << (index & 7));
  const asked = new Map(plan.asked);
  asked.delete(index);
  return { ...plan, have, asked };
}

/** A wrong block has come: it is due again immediately, and the try counts. */
export function blockRefused(plan: BlockPlan, index: number): BlockPlan {
  const ask = plan.asked.get(index);
  if (!ask) return plan;
  return { ...plan, asked: new Map(plan.asked).set(index, { ...ask, atMs: Number.NEGATIVE_INFINITY }) };
}

function toRuns(indexes: readonly number[]): readonly Run[] {
  const runs: { first: number; count: number }[] = [];
  for (const index of indexes) {
    const last = runs.at(-1);
    if (last && last.first + last.count === index && last.count < maxBlocksPerRequest) last.count += 1;
    else runs.push({ first: index, count: 1 });
  }
  return runs;
}
