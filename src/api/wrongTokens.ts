import { setTimeout as sleep } from 'node:timers/promises';
import { NusecError } from '../errors.ts';
import { lru } from '../lru.ts';
import type { Parts } from '../services/base/alarms.ts';
import type { Context } from '../services/base/context.ts';
import { areWithin } from '../times.ts';

/** Wrong tokens are counted for each address, by all server processes together: from a limit on they are answered slowly, and somebody gets to
 *  know. A right token is never held back, so nobody locks out others who share an address. Tokens are 32 random bytes: this is for the log, not for the arithmetic. */

const known = new WeakMap<Context, WrongTokens>();

const topic = 'wrong token';

/** To the other server processes. */
type Notices = {
  notify(topic: string, text: string): void;
  onNotice(topic: string, listener: (text: string) => void): void;
};

/** Each process reports to the others, so that the limit holds for all processes together. */
export function shareWrongTokens(parts: Parts, peers: Notices): void {
  const mine = wrongTokensOf(parts);
  mine.onWrong(address => peers.notify(topic, address));
  peers.onNotice(topic, mine.note);
}

/** One count for all the ways to sign in to this process. */
export function wrongTokensOf({ ctx, alarms }: Parts): WrongTokens {
  const mine = known.get(ctx) ?? watchWrongTokens({ ctx, alarms });
  known.set(ctx, mine);
  return mine;
}

export const maxWrongTokens = 20;
const windowMs = 10 * 60_000;
const delayMs = 1000;
/** Answers that wait at the same time; more are refused immediately. */
const maxDelayed = 100;
const maxAddresses = 10_000;

type Count = { readonly sinceMs: number; readonly count: number };

type WrongTokens = {
  /** Runs a sign-in from an address. @throws what it throws; RATE_LIMITED instead of UNAUTHENTICATED beyond the limit */
  watch<T>(address: string | undefined, signIn: () => Promise<T>): Promise<T>;
  /** One more, seen by another process. */
  note(address: string): void;
  onWrong(listener: (address: string) => void): void;
};

function watchWrongTokens({ ctx, alarms }: Parts): WrongTokens {
  const now = (): number => ctx.clock().getTime();
  const counts = lru<Count>(maxAddresses);
  let delayed = 0;
  let tell = (_: string): void => undefined;
  const note = (address: string): number => {
    const before = counts.get(address);
    const isOpen = before !== undefined && areWithin(windowMs, now(), before.sinceMs);
    const next = isOpen ? { ...before, count: before.count + 1 } : { sinceMs: now(), count: 1 };
    counts.set(address, next);
    return next.count;
  };
  return {
    note: address => void note(address),
    onWrong(listener) {
      tell = listener;
    },
    async watch(address = 'unknown', signIn) {
      try {
        return await signIn();
      } catch (error) {
        if (!(error instanceof NusecError) || error.code !== 'UNAUTHENTICATED') throw error;
        const count = note(address);
        tell(address);
        if (count <= maxWrongTokens) throw error;
        await alarms.raise({ code: 'WRONG_TOKENS', subject: `address-${address}`, detail: `${count} wrong tokens in ten minutes` });
        if (delayed < maxDelayed) {
          delayed += 1;
          await sleep(delayMs).finally(() => {
            delayed -= 1;
          });
        }
        throw new NusecError('RATE_LIMITED', 'too many wrong tokens from this address');
      }
    },
  };
}
