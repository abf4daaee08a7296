import { NusecError } from './errors.ts';

/** Owns what a start opens: files, locks, sockets, timers, subscriptions. */

export type Closable = { close(): unknown };

/** Takes charge of something that was just opened, and returns it. @param name of it, for people */
export type Own = <Opened extends Closable>(name: string, opened: Opened) => Opened;

type Owned = { readonly name: string; readonly opened: Closable };

/** One thing that does not close must not keep the others open. */
const closeLimitMs = 4_000;
/** Of all that is closing now. They begin again whenever one thing has closed: what owns others may take as long as these take together. */
const limits = new Set<NodeJS.Timeout>();

/** Opens several things as one. When `open` throws, everything it has opened so far is closed before the error is thrown on.
 *  @param open calls `own` with each thing, as soon as it is open
 *  @returns what `open` returns, and a `close` that closes everything in reverse order. It closes the others also when one throws or takes
 *  longer than `limitMs`, and then throws the error, or an AggregateError of several. Calling it again waits for the same end.
 *  @throws what `open` throws; from `close`: what closing throws, NusecError CLOSE_TIMEOUT */
export async function opening<Opened extends object>(
  open: (own: Own) => Promise<Opened>,
  limitMs = closeLimitMs,
): Promise<Opened & { close(): Promise<void> }> {
  const owned: Owned[] = [];
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= closeAll(owned, limitMs);
    return closed;
  };
  try {
    const opened = await open((name, opened) => {
      owned.push({ name, opened });
      return opened;
    });
    return { ...opened, close };
  } catch (error) {
    await close().catch((trouble: Error) => process.emitWarning(`after a start that failed: ${trouble.message}`));
    throw error;
  }
}

/** Opens several things, works with them, and closes them in reverse order, whatever comes of the work. @throws as `opening` */
export async function whileOpen<Result>(work: (own: Own) => Promise<Result>): Promise<Result> {
  const { result, close } = await opening(async own => ({ result: await work(own) }));
  await close();
  return result;
}

async function closeAll(owned: Owned[], limitMs: number): Promise<void> {
  const troubles: unknown[] = [];
  for (let next = owned.pop(); next !== undefined; next = owned.pop()) {
    await closeOne(next, limitMs).catch(trouble => troubles.push(trouble));
  }
  if (troubles.length === 1) throw troubles[0];
  if (troubles.length > 1) throw new AggregateError(troubles, troubles.map(trouble => (trouble as Error).message).join('; '));
}

async function closeOne({ name, opened }: Owned, limitMs: number): Promise<void> {
  const late = Promise.withResolvers<never>();
  const refuse = (): void => late.reject(new NusecError('CLOSE_TIMEOUT', `${name}: not closed within ${limitMs} ms`));
  const timer = setTimeout(refuse, limitMs);
  limits.add(timer);
  try {
    await Promise.race([opened.close(), late.promise]);
  } finally {
    clearTimeout(timer);
    limits.delete(timer);
    for (const limit of limits) limit.refresh();
  }
}

/** Work that is done again and again, one at a time. `close` aborts the signal and waits for the current run, so what it works with is
 *  still open as long as it runs. */
export type Repeated = {
  /** Does it now, after what is under way; never after `close`. */
  now(): Promise<void>;
  close(): Promise<void>;
};

/** Does work every so often, unless the one before is still under way. Does not keep the process alive.
 *  @param work ends soon after `stop` is aborted  @param onFailure called with what `work` throws, except after the stop */
export function repeatedly(
  everyMs: number,
  work: (stop: AbortSignal) => Promise<unknown>,
  onFailure: (error: unknown) => unknown,
): Repeated {
  const stop = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let isIdle = true;
  const once = async (): Promise<void> => {
    if (stop.signal.aborted) return;
    isIdle = false;
    try {
      await work(stop.signal);
    } catch (error) {
      if (!stop.signal.aborted) await onFailure(error);
    } finally {
      isIdle = true;
    }
  };
  const now = (): Promise<void> => {
    running = running.then(once);
    return running;
  };
  const timer = setInterval(() => isIdle && void now(), everyMs);
  timer.unref();
  return {
    now,
    close() {
      clearInterval(timer);
      stop.abort();
      return running;
    },
  };
}
