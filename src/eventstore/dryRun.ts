import { AsyncLocalStorage } from 'node:async_hooks';
import type { Append } from './port.ts';

/** Work that only asks what would come of it: it is judged up to the first thing that it would store, or do outside of the log, and ends there. */

/** An event that would be stored. */
export type WouldBe = { readonly stream: string; readonly type: string };

class DryRunEnd extends Error {
  readonly events: readonly WouldBe[];
  constructor(events: readonly WouldBe[]) {
    super('a dry run ends here');
    this.events = events;
  }
}

const dryRun = new AsyncLocalStorage<true>();

export const isDryRun = (): boolean => dryRun.getStore() === true;

/** @returns the first events that the work would store; none when it would change nothing @throws what the work throws before */
export async function inDryRun(work: () => Promise<unknown>): Promise<readonly WouldBe[]> {
  try {
    await dryRun.run(true, work);
    return [];
  } catch (error) {
    if (error instanceof DryRunEnd) return error.events;
    throw error;
  }
}

/** Before what is stored, and before what happens outside of the log and cannot be undone. */
export function endDryRun(appends: readonly Append[] = []): void {
  if (isDryRun()) throw new DryRunEnd(appends.flatMap(({ stream, events }) => events.map(({ type }) => ({ stream, type }))));
}
