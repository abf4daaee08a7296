import { type ErrorCode, NusecError } from '../errors.ts';
import type { IsoTime } from './actor.ts';

/** Small rules that several aggregates share. */

/** Refuses a command with a stable code. */
export function refuse(code: ErrorCode, detail: string): never {
  throw new NusecError(code, detail);
}

/** Four eyes, two steps: the person of the first step may not approve it (I16).
 *  @throws NusecError FOUR_EYES_REQUIRED */
export function requireOtherPerson(first: string, second: string, what: string): void {
  if (first === second) refuse('FOUR_EYES_REQUIRED', `${what} needs a person other than ${first}`);
}

/** Four eyes, one step: two different people give the command (I16: root creation, debug unlock, revocation in bulk).
 *  @throws NusecError FOUR_EYES_REQUIRED */
export function requireTwoPeople(approvers: readonly string[], what: string): void {
  if (new Set(approvers).size < 2) refuse('FOUR_EYES_REQUIRED', `${what} needs two different approvers`);
}

/** Whether `time` has been reached at `now`; both RFC 3339. */
export function isPast(time: string, now: IsoTime): boolean {
  return Date.parse(time) <= Date.parse(now);
}

/** RFC 3339 UTC time `ms` milliseconds after `now`. */
export function timeAfter(now: IsoTime, ms: number): string {
  return new Date(Date.parse(now) + ms).toISOString();
}

/** @throws NusecError BAD_REQUEST unless the value is an integer from `minimum` to 2³² − 1 */
export function requireCount(value: number, minimum: number, what: string): void {
  if (!Number.isInteger(value) || value < minimum || value > 0xffff_ffff) {
    refuse('BAD_REQUEST', `${what} must be a whole number from ${minimum} to 4294967295`);
  }
}
