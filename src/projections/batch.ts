import type Database from 'better-sqlite3';
import type { Recorded } from '../eventstore/recorded.ts';
import { transaction } from '../sqliteFile.ts';
import type { Build, Builds } from './builds.ts';

/** So long events are projected before others get their turn. */
const turnMs = 4;
const maxEventsPerLook = 16;
/** What is wrong with the file and not with one projection: all of the batch is tried again later. */
const outages = /^SQLITE_(FULL|IOERR|NOMEM|BUSY|READONLY|CANTOPEN|CORRUPT|NOTADB)/;

class ProjectionFault extends Error {
  readonly build: Build;
  readonly position: number;

  constructor(build: Build, position: number, cause: unknown) {
    super(`${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.build = build;
    this.position = position;
  }
}

/** Projects the beginning of a batch into all builds, each from its own position on, in one transaction with their checkpoints: one event, and those
 *  after it as long as nobody waits too long for their turn.
 *  A build that throws keeps what came before the event it failed on, gets the fault and goes no further; the others are not touched by it.
 *  @param together these are the builds that move together
 *  @returns the builds that failed, and how many of the events were taken
 *  @throws SqliteError when the file cannot be written; then no build has moved */
export function applyBatch(
  db: Database,
  builds: Builds,
  running: readonly Build[],
  events: readonly Recorded[],
  together: boolean,
): { readonly failed: readonly Build[]; readonly taken: number } {
  const failed: Build[] = [];
  let taken = 0;
  for (;;) {
    const before = running.map(({ position, hash, isShared }) => ({ position, hash, isShared }));
    try {
      transaction(db, () => {
        taken = advanceAll(running, events);
        builds.save(running, together);
      });
      return { failed, taken };
    } catch (error) {
      running.forEach((build, i) => void Object.assign(build, before[i]));
      if (!(error instanceof ProjectionFault)) {
        for (const build of failed) delete build.fault;
        throw error;
      }
      error.build.fault = { position: error.position, message: error.message };
      if (!failed.includes(error.build)) failed.push(error.build);
    }
  }
}

/** @returns how many events it took */
function advanceAll(running: readonly Build[], events: readonly Recorded[]): number {
  const startMs = performance.now();
  let taken = 0;
  let nextLook = 1;
  for (const event of events) {
    if (taken === nextLook) {
      const usedMs = performance.now() - startMs;
      if (usedMs >= turnMs) break;
      nextLook += eventsToNextLook(usedMs / taken, turnMs - usedMs);
    }
    for (const build of running) advance(build, event);
    taken += 1;
  }
  return taken;
}

/** A look at the clock for every event costs as much as a cheap event. Half of what is left is used up before the next look, if events go on as they were. */
const eventsToNextLook = (eventMs: number, leftMs: number): number =>
  Math.max(1, Math.min(maxEventsPerLook, Math.floor(leftMs / 2 / eventMs)));

function advance(build: Build, event: Recorded): void {
  if (event.position <= build.position || event.position >= (build.fault?.position ?? Number.POSITIVE_INFINITY)) return;
  try {
    if (!build.parked.has(event.position)) build.project(event);
  } catch (error) {
    if (outages.test(String((error as { code?: unknown } | null)?.code))) throw error;
    throw new ProjectionFault(build, event.position, error);
  }
  build.position = event.position;
  build.hash = event.hash;
}
