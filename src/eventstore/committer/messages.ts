import { type ErrorCode, NusecError } from '../../errors.ts';
import type { AppendResult, ExpectedRevision } from '../port.ts';
import { RevisionConflict } from '../revision.ts';
import type { CommitRequest } from '../writer.ts';
import { TurnOver } from './turnOver.ts';

/** What a process asks the committer, and what that answers. */

/** What is to be stored, each with the number by which it is answered; or a question whether the committer runs. */
export type Asked = { readonly requests: readonly (readonly [number: number, request: CommitRequest])[] } | 'alive?';

/** @property over another process commits now: ask that one */
export type Answer = { readonly number: number } & (
  | { readonly results: readonly AppendResult[] }
  | { readonly over: true }
  | { readonly conflict: readonly [stream: string, expected: ExpectedRevision, actual: number] }
  | { readonly refusal: readonly [code: ErrorCode, detail: string] }
);

export type Answered = { readonly answers: readonly Answer[] };

export function answerOf(number: number, error: unknown): Answer {
  if (error instanceof TurnOver) return { number, over: true };
  if (error instanceof RevisionConflict) return { number, conflict: [error.stream, error.expected, error.actual] };
  const known = error instanceof NusecError ? error : new NusecError('STORE_UNAVAILABLE', 'the events could not be stored');
  return { number, refusal: [known.code, known.message] };
}

/** The error that an answer stands for; undefined when there are results. */
export function errorOf(answer: Answer): Error | undefined {
  if ('results' in answer) return undefined;
  if ('over' in answer) return new TurnOver();
  return 'conflict' in answer ? new RevisionConflict(...answer.conflict) : new NusecError(...answer.refusal);
}
