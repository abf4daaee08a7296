import type Database from 'better-sqlite3';
import type { Recorded } from '../eventstore/recorded.ts';
import { transaction } from '../sqliteFile.ts';
import type { Build, Builds } from './builds.ts';

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

/** Projects a batch into all builds, each from its own position on, in one transaction with their checkpoints.
 *  A build that throws keeps what came before the event it failed on, gets the fault and goes no further; the others are not touched by it.
 *  @param together these are the builds that move together
 *  @returns the builds that failed in this batch
 *  @throws SqliteError when the file cannot be written; then no build has moved */
export function applyBatch(
  db: Database,
  builds: Builds,
  running: readonly Build[],
  events: readonly Recorded[],
  together: boolean,
): readonly Build[] {
  const failed: Build[] = [];
  for (;;) {
    const before = running.map(({ position, hash, isShared }) => ({ position, hash, isShared }));
    try {
      transaction(db, () => {
        for (const build of running) advance(build, events);
        builds.save(running, together);
      });
      return failed;
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

function advance(build: Build, events: readonly Recorded[]): void {
  const end = build.fault?.position ?? Number.POSITIVE_INFINITY;
  for (const event of events) {
    if (event.position <= build.position) continue;
    if (event.position >= end) break;
    try {
      if (!build.parked.has(event.position)) build.project(event);
    } catch (error) {
      if (outages.test(String((error as { code?: unknown } | null)?.code))) throw error;
      throw new ProjectionFault(build, event.position, error);
    }
    build.position = event.position;
    build.hash = event.hash;
  }
}
