import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  blockArrived,
  blockRefused,
  hasBlock,
  isComplete,
  maxBlocksPerRequest,
  missingBlocks,
  newBlockPlan,
  nextRequests,
} from '../../src/ota/blockPlan.ts';

const rules = { windowBlocks: 4, timeoutMs: 100, maxTries: 3 };

describe('the pull plan', () => {
  it('asks for a window of blocks, then for no more until one comes', () => {
    const first = nextRequests(newBlockPlan(10), 0, rules);
    expect(first.runs).toEqual([{ first: 0, count: 4 }]);
    expect(nextRequests(first.plan, 50, rules).runs).toEqual([]);
    expect(nextRequests(blockArrived(first.plan, 2), 50, rules).runs).toEqual([{ first: 4, count: 1 }]);
  });

  it('asks again after the time-out, for the missing ones only', () => {
    const { plan } = nextRequests(newBlockPlan(4), 0, rules);
    expect(nextRequests(blockArrived(plan, 1), 100, rules).runs).toEqual([
      { first: 0, count: 1 },
      { first: 2, count: 2 },
    ]);
  });

  it('fetches a bad block again alone, and fails after too many tries', () => {
    let step = nextRequests(newBlockPlan(2), 0, rules);
    step = nextRequests(blockRefused(blockArrived(step.plan, 0), 1), 1, rules);
    expect(step.runs).toEqual([{ first: 1, count: 1 }]);
    step = nextRequests(blockRefused(step.plan, 1), 2, rules);
    expect(step.runs).toEqual([{ first: 1, count: 1 }]);
    expect(nextRequests(blockRefused(step.plan, 1), 3, rules)).toMatchObject({ runs: [], failed: true });
  });

  it('goes on after a restart from the bitmap it kept', () => {
    const kept = blockArrived(blockArrived(newBlockPlan(11), 3), 10).have;
    const plan = newBlockPlan(11, kept);
    expect(missingBlocks(plan)).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 9]);
    expect(newBlockPlan(11, Uint8Array.of(0xff, 0xff, 0xff)).have).toEqual(Uint8Array.of(0xff, 0x07));
  });

  it('asks for at most eight blocks in one message', () => {
    const { runs } = nextRequests(newBlockPlan(20), 0, { ...rules, windowBlocks: 20 });
    expect(runs.map(run => run.count)).toEqual([maxBlocksPerRequest, maxBlocksPerRequest, 4]);
  });

  it('ends with every block once, whatever is lost, repeated or broken on the way', () => {
    const fates = fc.array(fc.constantFrom('lost', 'bad', 'twice', 'good'), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fates, fc.integer({ min: 1, max: 12 }), (blocks, fate, windowBlocks) => {
        let plan = newBlockPlan(blocks);
        let round = 0;
        for (; !isComplete(plan) && round < 1000; round += 1) {
          const step = nextRequests(plan, round * 100, { windowBlocks, timeoutMs: 100, maxTries: 1000 });
          plan = step.plan;
          const asked = step.runs.flatMap(run => Array.from({ length: run.count }, (_, i) => run.first + i));
          expect(asked.length).toBeLessThanOrEqual(windowBlocks);
          for (const index of asked) {
            expect(hasBlock(plan, index)).toBe(false);
            const what = round < 60 ? fate[(round + index) % fate.length] : 'good';
            if (what === 'bad') plan = blockRefused(plan, index);
            if (what === 'good' || what === 'twice') plan = blockArrived(plan, index);
            if (what === 'twice') plan = blockArrived(plan, index);
          }
        }
        expect(isComplete(plan)).toBe(true);
        expect(plan.asked.size).toBe(0);
      }),
    );
  });

  it('leaves the plan alone for blocks that do not exist', () => {
    const plan = newBlockPlan(3);
    expect(blockArrived(plan, 3)).toBe(plan);
    expect(blockArrived(plan, -1)).toBe(plan);
    expect(blockRefused(plan, 1)).toBe(plan);
  });
});
