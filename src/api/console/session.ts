import { randomBytes } from 'node:crypto';
import type { Person } from '../auth.ts';

/** Signed-in browsers: the cookie holds a random id, the server who it is. Sessions end after eight hours or with the process. */

export const sessionCookie = '__Host-nusec';
const sessionMs = 8 * 3_600_000;
const maxSessions = 1000;

export type ConsoleSessions = {
  open(person: Person): string;
  find(id: string | undefined): Person | undefined;
  close(id: string | undefined): void;
};

export function createConsoleSessions(now: () => number): ConsoleSessions {
  const sessions = new Map<string, { readonly person: Person; readonly expiresAt: number }>();
  return {
    open(person) {
      const id = randomBytes(32).toString('base64url');
      sessions.set(id, { person, expiresAt: now() + sessionMs });
      if (sessions.size > maxSessions) sessions.delete(sessions.keys().next().value as string);
      return id;
    },
    find(id) {
      const session = id === undefined ? undefined : sessions.get(id);
      if (session === undefined || session.expiresAt > now()) return session?.person;
      sessions.delete(id as string);
      return undefined;
    },
    close: id => void (id !== undefined && sessions.delete(id)),
  };
}
