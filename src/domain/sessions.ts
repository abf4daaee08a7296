import type { IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';
import type { Role } from './roles.ts';
import { isPast } from './rules.ts';

/** Sessions of one person: browsers at the console, and commands that `nusec login` has signed in. What is not here does not count. Stream
 *  `sessions-{name}`. begun → ended before its time, or over. */

export type SessionUse = 'console' | 'command';

/** By a token; with an identity: by an OpenID provider, whose groups stood for these roles (`mapped`). */
export type SessionOf = {
  readonly name: string;
  readonly tokenSha256: string;
  readonly identityId?: string;
  readonly mapped?: readonly Role[];
};

/** `id`: 32 hex digits. `at`, `until`: when it was begun, and when it ends by itself. Address and agent: where from, and what the browser or command calls itself. */
export type Session = Omit<SessionOf, 'name'> & {
  readonly id: string;
  readonly use: SessionUse;
  readonly at: IsoTime;
  readonly until: IsoTime;
  readonly address?: string;
  readonly agent?: string;
};

export type SessionsEvent =
  | { readonly type: 'SessionBegun'; readonly data: Session }
  | { readonly type: 'SessionEnded'; readonly data: { readonly id: string } };

export type SessionsCommand = ({ readonly type: 'BeginSession' } & Session) | { readonly type: 'EndSession'; readonly id: string };

/** `open`: in the order of their beginning; some of them may be over by now. */
export type SessionsState = { readonly open: readonly Session[] };

/** Of one person at a time: with one more the first of them ends. */
export const maxSessions = 50;

export const sessionsStream = (name: string): string => `sessions-${name}`;

export const sessions: Decider<SessionsCommand, SessionsState, SessionsEvent> = {
  initialState: { open: [] },
  decide(command, { open }) {
    const known = open.some(({ id }) => id === command.id);
    if (command.type === 'EndSession') return known ? [ended(command.id)] : [];
    if (known) return [];
    const { type: _, ...session } = command;
    const surplus = notOver(open, session.at).slice(0, -(maxSessions - 1));
    return [...surplus.map(({ id }) => ended(id)), { type: 'SessionBegun', data: session }];
  },
  evolve(state, event) {
    switch (event.type) {
      case 'SessionBegun':
        return { open: [...notOver(state.open, event.data.at), event.data] };
      case 'SessionEnded':
        return { open: state.open.filter(({ id }) => id !== event.data.id) };
      default:
        return state;
    }
  },
};

const notOver = (open: readonly Session[], now: IsoTime): readonly Session[] => open.filter(({ until }) => !isPast(until, now));

const ended = (id: string): SessionsEvent => ({ type: 'SessionEnded', data: { id } });
