import { expect } from 'vitest';
import { type Decider, fold } from '../../src/domain/decider.ts';
import { type ErrorCode, NusecError } from '../../src/errors.ts';

/** given(events).when(command).gives(events) or .refused(code): one decision of an aggregate.
 *  `givesOnce` also proves that the repeated command changes nothing. */
export function scenario<Command, State, Event>(decider: Decider<Command, State, Event>) {
  return {
    given: (...events: readonly Event[]) => ({
      when: (command: Command) => {
        const state = fold(decider, events);
        const decided = () => decider.decide(command, state);
        return {
          gives: (...expected: readonly Event[]) => expect(decided()).toEqual(expected),
          givesOnce: (...expected: readonly Event[]) => {
            const first = decided();
            expect(first).toEqual(expected);
            expect(decider.decide(command, fold(decider, first, state))).toEqual([]);
          },
          refused: (code: ErrorCode) => expect(codeOf(decided)).toBe(code),
        };
      },
    }),
  };
}

/** The code a call is refused with, `undefined` when it is not. */
export function codeOf(call: () => unknown): ErrorCode | undefined {
  try {
    call();
  } catch (error) {
    if (error instanceof NusecError) return error.code;
    throw error;
  }
  return undefined;
}

/** Runs commands one after the other, as a service would: refused ones leave the history as it is. */
export function play<Command, State, Event>(decider: Decider<Command, State, Event>, commands: readonly Command[]) {
  let state = decider.initialState;
  const events: Event[] = [];
  for (const command of commands) {
    try {
      const decided = decider.decide(command, state);
      state = fold(decider, decided, state);
      events.push(...decided);
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
    }
  }
  return { state, events };
}
