import type { EventStore } from './port.ts';
import { RevisionConflict } from './revision.ts';
import { type Staged, stage } from './staged.ts';
import { inLine, type PassingStates, shareStates } from './stateCache.ts';

/** A unit of work: everything that one answer stores, in one commit. */

/** How often a unit of work is done again because somebody else was faster. */
const maxConflictRetries = 8;

/** Runs `work` on a staged store and commits what it has staged, once, before this resolves. Work that throws has what it staged before committed
 *  all the same, unless it has said `forget`: a refusal may have recorded why. When another command was faster on one of its streams, all of it is done again, from then on in line
 *  with the other commands to that stream; so nothing may leave the process in between.
 *  @param passing states that this work alone needs
 *  @throws what `work` throws, and as EventStore.commit */
export async function inOneCommit<Result>(
  base: EventStore,
  work: (staged: Staged) => Promise<Result>,
  passing: PassingStates = new Map(),
): Promise<Result> {
  const attempt = () => attemptOnce(base, work, passing);
  let contested: string | undefined;
  for (let count = 0; ; count++) {
    try {
      return await (contested === undefined ? attempt() : inLine(base, contested, attempt));
    } catch (error) {
      if (!(error instanceof RevisionConflict) || count === maxConflictRetries) throw error;
      contested = error.stream;
    }
  }
}

async function attemptOnce<Result>(base: EventStore, work: (staged: Staged) => Promise<Result>, passing: PassingStates): Promise<Result> {
  const staged = stage(base);
  const handOn = shareStates(staged.store, base, staged.has, passing);
  const [outcome] = await Promise.allSettled([work(staged)]);
  handOn(await staged.commit());
  if (outcome.status === 'rejected') throw outcome.reason;
  return outcome.value;
}
