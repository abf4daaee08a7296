import type { Session } from './session.ts';

/** Sessions with exclusive lease: two operations on one session would mix, or crash the module. */
export type SessionPool = {
  /** Waits for a free session and gives it back when `work` has ended. */
  lease<Result>(work: (session: Session) => Promise<Result>): Promise<Result>;
};

export function createPool(sessions: readonly Session[]): SessionPool {
  const free = [...sessions];
  const waiting: ((session: Session) => void)[] = [];

  const take = (): Promise<Session> => {
    const session = free.pop();
    return session ? Promise.resolve(session) : new Promise(resolve => waiting.push(resolve));
  };
  const giveBack = (session: Session): void => {
    const next = waiting.shift();
    if (next) next(session);
    else free.push(session);
  };

  return {
    async lease(work) {
      const session = await take();
      try {
        return await work(session);
      } finally {
        giveBack(session);
      }
    },
  };
}
