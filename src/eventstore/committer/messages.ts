import { type ErrorCode, NusecError } from '../../errors.ts';
import type { AppendResult, ExpectedRevision } from '../port.ts';
import { RevisionConflict } from '../revision.ts';
import type { CommitRequest } from '../writer.ts';
import { TurnOver } from './turnOver.ts';

/** What a process asks the committer, and what that answers. Most commits are one append that rests on nothing else, and most answers where it is stored:
 *  they go as flat lists, which cost a third of the time of objects. */

/** What is to be stored, with the number by which it is answered; of one append: its stream, the expected revision, and id and body of each event. */
export type AskedCommit =
  | readonly [number: number, stream: string, expected: ExpectedRevision, ...idsAndBodies: string[]]
  | readonly [number: number, request: CommitRequest];

/** Commits; or a question whether the committer runs. */
export type Asked = { readonly commits: readonly AskedCommit[] } | 'alive?';

/** Revision and position of each append; or why nothing is stored.
 *  @property over another process commits now: ask that one */
export type Answer =
  | readonly [number: number, ...revisionsAndPositions: number[]]
  | ({ readonly number: number } & (
      | { readonly over: true }
      | { readonly conflict: readonly [stream: string, expected: ExpectedRevision, actual: number] }
      | { readonly refusal: readonly [code: ErrorCode, detail: string] }
    ));

export type Answered = { readonly answers: readonly Answer[] };

export function askedCommit(number: number, request: CommitRequest): AskedCommit {
  const { appends, basis, ...others } = request;
  const [append] = appends;
  if (append === undefined || appends.length > 1 || basis.length > 0 || Object.values(others).some(value => value !== undefined))
    return [number, request];
  return [number, append.stream, append.expected, ...append.events.flatMap(({ id, body }) => [id, body])];
}

/** @param turn under which it is to be stored */
export function requestIn(asked: AskedCommit, turn: number): CommitRequest {
  if (typeof asked[1] !== 'string') return { ...asked[1], turn };
  const [, stream, expected, ...idsAndBodies] = asked as Extract<AskedCommit, readonly [number, string, ...unknown[]]>;
  const events = pairs(idsAndBodies).map(([id, body]) => ({ id, body }));
  return { appends: [{ stream, expected, events }], basis: [], turn };
}

export const answerOf = (number: number, results: readonly AppendResult[]): Answer => [
  number,
  ...results.flatMap(({ revision, position }) => [revision, position]),
];

export function refusalOf(number: number, error: unknown): Answer {
  if (error instanceof TurnOver) return { number, over: true };
  if (error instanceof RevisionConflict) return { number, conflict: [error.stream, error.expected, error.actual] };
  const known = error instanceof NusecError ? error : new NusecError('STORE_UNAVAILABLE', 'the events could not be stored');
  return { number, refusal: [known.code, known.message] };
}

/** What became of a commit: its results, or the error that refuses it. */
export function outcomeIn(answer: Answer): { readonly number: number; readonly outcome: readonly AppendResult[] | Error } {
  if (!('number' in answer)) {
    const [number, ...numbers] = answer;
    return { number, outcome: pairs(numbers).map(([revision, position]) => ({ revision, position })) };
  }
  const { number } = answer;
  if ('over' in answer) return { number, outcome: new TurnOver() };
  return { number, outcome: 'conflict' in answer ? new RevisionConflict(...answer.conflict) : new NusecError(...answer.refusal) };
}

function pairs<Value>(values: readonly Value[]): (readonly [Value, Value])[] {
  return Array.from({ length: values.length / 2 }, (_, i) => [values[2 * i] as Value, values[2 * i + 1] as Value]);
}
