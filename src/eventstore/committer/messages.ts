import { type ErrorCode, NusecError } from '../../errors.ts';
import type { AppendResult, ExpectedRevision } from '../port.ts';
import { RevisionConflict } from '../revision.ts';
import type { CommitRequest } from '../writer.ts';
import { TurnOver } from './turnOver.ts';

/** What a process asks the committer, and what that answers, as text in UTF-8: a tenth of the time of the serialiser of V8.
 *
 *  A question has for each commit a line `number count expected stream` and for each of its events a line with its id and one with its body (neither has
 *  a line break in it), if the commit is one append that rests on nothing else, as most are. Any other is a line `number` and a line of JSON, with
 *  blobs in base64. A question without commits asks whether the committer runs. An answer is a JSON list of Answer. */

/** Revision and position of each append; or why nothing is stored.
 *  @property over another process commits now: ask that one */
export type Answer =
  | readonly [number: number, ...revisionsAndPositions: number[]]
  | ({ readonly number: number } & (
      | { readonly over: true }
      | { readonly conflict: readonly [stream: string, expected: ExpectedRevision, actual: number] }
      | { readonly refusal: readonly [code: ErrorCode, detail: string] }
    ));

/** What is to be stored, with the number by which it is answered. */
export type Asked = { readonly number: number; readonly request: CommitRequest };

/** One commit of a question. */
export function askedText(number: number, request: CommitRequest): string {
  const { appends, basis, ...others } = request;
  const [append] = appends;
  if (append === undefined || appends.length > 1 || basis.length > 0 || Object.values(others).some(value => value !== undefined))
    return `${number}\n${JSON.stringify({ ...request, blobs: request.blobs?.map(inBase64) })}\n`;
  let text = `${number} ${append.events.length} ${append.expected} ${append.stream}\n`;
  for (const { id, body } of append.events) text += `${id}\n${body}\n`;
  return text;
}

/** @param turn under which it is to be stored */
export function asksIn(content: Buffer, turn: number): readonly Asked[] {
  const next = linesOf(content);
  const asks: Asked[] = [];
  for (let header = next(); header !== undefined; header = next()) {
    const [number, count, expected, stream] = header.split(' ');
    const request = stream === undefined ? wholeRequest(next()) : oneAppend(stream, expectedIn(expected), Number(count), next);
    asks.push({ number: Number(number), request: { ...request, turn } });
  }
  return asks;
}

function oneAppend(stream: string, expected: ExpectedRevision, count: number, next: () => string | undefined): CommitRequest {
  const events = Array.from({ length: count }, () => ({ id: next() ?? '', body: next() ?? '' }));
  return { appends: [{ stream, expected, events }], basis: [] };
}

const expectedIn = (text = ''): ExpectedRevision => (/^\d/.test(text) ? Number(text) : (text as ExpectedRevision));

type InBase64 = { readonly sha256: string; readonly bytes: string };

const inBase64 = ({ sha256, bytes }: { readonly sha256: string; readonly bytes: Uint8Array }): InBase64 => ({
  sha256,
  bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64'),
});

function wholeRequest(json = ''): CommitRequest {
  const { blobs, ...request } = JSON.parse(json) as Omit<CommitRequest, 'blobs'> & { readonly blobs?: readonly InBase64[] };
  return { ...request, blobs: blobs?.map(({ sha256, bytes }) => ({ sha256, bytes: Buffer.from(bytes, 'base64') })) };
}

const lineBreak = 0x0a;

/** Each line as a text of its own: ids are kept for long, and a part of a text would keep all of it. */
function linesOf(content: Buffer): () => string | undefined {
  let at = 0;
  return () => {
    const end = content.indexOf(lineBreak, at);
    if (end === -1) return undefined;
    const line = content.toString('utf8', at, end);
    at = end + 1;
    return line;
  };
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

export const answersIn = (content: Buffer): readonly Answer[] => JSON.parse(content.toString()) as readonly Answer[];

/** What became of a commit: its results, or the error that refuses it. */
export function outcomeIn(answer: Answer): { readonly number: number; readonly outcome: readonly AppendResult[] | Error } {
  if (!('number' in answer)) {
    const [number, ...numbers] = answer;
    return { number, outcome: resultsIn(numbers) };
  }
  const { number } = answer;
  if ('over' in answer) return { number, outcome: new TurnOver() };
  return { number, outcome: 'conflict' in answer ? new RevisionConflict(...answer.conflict) : new NusecError(...answer.refusal) };
}

function resultsIn(numbers: readonly number[]): readonly AppendResult[] {
  const results: AppendResult[] = [];
  for (let i = 0; i < numbers.length; i += 2) results.push({ revision: numbers[i] as number, position: numbers[i + 1] as number });
  return results;
}
