import { AsyncLocalStorage } from 'node:async_hooks';
import { NusecError } from '../errors.ts';

/** What the caller of a request has seen of a stream (`If-Match`). It is judged with each decision about that stream, so nothing can come between the
 *  look and the change; what the request itself has changed counts as seen. */

export type Expectation = { readonly stream: string; readonly revisions: readonly number[] };

const expected = new AsyncLocalStorage<{ readonly stream: string; revisions: readonly number[] }>();

/** Does work that decides about the stream only while it is at one of these revisions. */
export const expecting = <Result>(expectation: Expectation | undefined, work: () => Result): Result =>
  expectation === undefined ? work() : expected.run({ ...expectation }, work);

/** @throws NusecError PRECONDITION_FAILED */
export function requireExpected(stream: string, revision: number): void {
  const expectation = expected.getStore();
  if (expectation?.stream === stream && !expectation.revisions.includes(revision))
    throw new NusecError('PRECONDITION_FAILED', `it has changed since: it is at revision ${revision} now`);
}

/** The request itself has brought the stream to this revision. */
export function noteOwnChange(stream: string, revision: number): void {
  const expectation = expected.getStore();
  if (expectation?.stream === stream) expectation.revisions = [revision];
}
