import { equalBytes } from '../../bytes.ts';

/** Answers that are made once: requesters of one kind ask in the same words every time, and what follows from these words alone is the same too.
 *  Nothing that is random, signed, measured or part of a session is kept. */

type Kept = { readonly context: object; readonly request: Uint8Array; readonly answer: unknown };

const keptAnswers = new WeakMap<object, Kept[]>();
const maxKept = 16;

/** @param owner whose answers these are; they are forgotten with it
 *  @param context what the answer depends on beside owner and request: the same object, the same answer
 *  @returns what `make` returned for the same request, or returns now; nothing is kept when it throws */
export function kept<Answer>(owner: object, context: object, request: Uint8Array, make: () => Answer): Answer {
  const answers = keptAnswers.get(owner) ?? [];
  for (const one of answers) if (one.context === context && equalBytes(one.request, request)) return one.answer as Answer;
  const answer = make();
  if (answers.length >= maxKept) answers.length = 0;
  answers.push({ context, request: Uint8Array.from(request), answer });
  keptAnswers.set(owner, answers);
  return answer;
}
