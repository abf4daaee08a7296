import { expect, onTestFinished } from 'vitest';

/** A requirement, a rule, an invariant or a threat, by its number: `R57`, `RULE-4`, `I1`, `T3`. One each, never a range. */
export type Covered = `R${bigint}` | `RULE-${bigint}` | `I${bigint}` | `T${bigint}`;

/** Marks, beside the assertions, the numbers that they show: the test fails when the requirement of that number is broken.
 *  `scripts/traceability.ts` reads these calls from the source, so the numbers are literals.
 *  @throws Error outside a test; the test fails when it made no assertion at all */
export function covers(...numbers: readonly [Covered, ...Covered[]]): void {
  if (!expect.getState().currentTestName) throw new Error(`covers(${numbers.join(', ')}) stands in no test`);
  onTestFinished(() => {
    if (expect.getState().assertionCalls === 0) throw new Error(`covers(${numbers.join(', ')}) stands beside no assertion`);
  });
}
