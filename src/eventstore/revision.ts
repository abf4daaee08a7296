import { type ErrorCode, NusecError } from '../errors.ts';
import type { ExpectedRevision } from './port.ts';

/** Revision of a stream that does not exist. */
export const noStream = -1;

/** The stream is not at the expected revision; nothing was stored. `actual` is its newest revision, -1 when it does not exist. */
export class RevisionConflict extends NusecError {
  readonly stream: string;
  readonly expected: ExpectedRevision;
  readonly actual: number;

  constructor(stream: string, expected: ExpectedRevision, actual: number) {
    super(conflictCode(expected), `stream ${stream} is at revision ${actual}, expected ${expected}`);
    this.stream = stream;
    this.expected = expected;
    this.actual = actual;
  }
}

function conflictCode(expected: ExpectedRevision): ErrorCode {
  if (expected === 'none') return 'STREAM_EXISTS';
  return expected === 'exists' ? 'STREAM_NOT_FOUND' : 'REVISION_CONFLICT';
}

export function matchesExpected(expected: ExpectedRevision, actual: number): boolean {
  if (expected === 'any') return true;
  if (expected === 'none') return actual === noStream;
  return expected === 'exists' ? actual !== noStream : actual === expected;
}
