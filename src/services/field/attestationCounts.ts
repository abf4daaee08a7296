import { NusecError } from '../../errors.ts';
import type { AttestationOutcome } from '../base/attestationLog.ts';

/** How attestations ended since the start of this process, by line: also those that nobody answered, which leave no row in the log of attestations. */

export type AttestationEnd = AttestationOutcome | 'unanswered';
export type AttestationCount = { readonly line: string; readonly end: AttestationEnd; readonly count: number };

export function createAttestationCounts() {
  const counts = new Map<string, Map<AttestationEnd, number>>();
  const note = (line: string, end: AttestationEnd): void => {
    const ofLine = counts.get(line) ?? new Map<AttestationEnd, number>();
    counts.set(line, ofLine.set(end, (ofLine.get(end) ?? 0) + 1));
  };
  return {
    /** Counts how an attestation ends. @throws what it throws */
    async counted<Result extends { readonly result: AttestationOutcome }>(line: string, attestation: Promise<Result>): Promise<Result> {
      try {
        const ended = await attestation;
        note(line, ended.result);
        return ended;
      } catch (error) {
        if (error instanceof NusecError && error.code === 'DEVICE_UNREACHABLE') note(line, 'unanswered');
        throw error;
      }
    },
    all: (): readonly AttestationCount[] => [...counts].flatMap(([line, ends]) => [...ends].map(([end, count]) => ({ line, end, count }))),
  };
}
