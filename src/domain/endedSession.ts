import type { IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';

/** A session of the console that its person has ended before its time: no copy of its cookie counts any more, whatever is started again.
 *  Stream `session-{sha256}`, named by the hash of what the cookie says: asking is one look, and no list grows. */

/** `until`: when it would have ended. */
export type EndedSessionEvent = { readonly type: 'SessionEnded'; readonly data: { readonly until: IsoTime } };
export type EndedSessionCommand = { readonly type: 'EndSession'; readonly until: IsoTime };
export type EndedSessionState = { readonly isEnded: boolean };

export const endedSessionStream = (sha256: string): string => `session-${sha256}`;

export const endedSession: Decider<EndedSessionCommand, EndedSessionState, EndedSessionEvent> = {
  initialState: { isEnded: false },
  decide: ({ until }, { isEnded }) => (isEnded ? [] : [{ type: 'SessionEnded', data: { until } }]),
  evolve: (state, event) => (event.type === 'SessionEnded' ? { isEnded: true } : state),
};
