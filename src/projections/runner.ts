/** Keeps the read models up with the event store: one live group of builds that moves together, and builds that catch up beside it. */
import type Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import type { EventStore, Subscription } from '../eventstore/port.ts';
import { type Recorded, subscribe } from '../eventstore/recorded.ts';
import { applyBatch } from './batch.ts';
import { type Build, openBuilds, requireNames } from './builds.ts';
import { openReadModelWriter } from './database.ts';
import type { Projection } from './projection.ts';
import { waiting } from './waiting.ts';

/** Before a batch is tried again that the file did not take (disk full). */
const outageRetryMs = 1000;
const defaultWaitMs = 5000;

export type RunnerOptions = {
  readonly store: EventStore;
  /** The read-model file; created when missing, locked to nobody: readers open it with openReadModel. */
  readonly file: string;
  readonly projections: readonly Projection[];
  /** Told once per fault and per outage, for the log. */
  readonly onTrouble?: (trouble: { readonly projection?: string; readonly position: number; readonly message: string }) => void;
};

type ProjectionHealth = {
  readonly name: string;
  readonly version: number;
  /** live: up with the others · building: catching up, queries see the older build if there is one · faulted: stopped before an event */
  readonly status: 'live' | 'building' | 'faulted';
  readonly position: number;
  readonly behindEvents: number;
  /** What the projection threw, and at which position. */
  readonly fault?: { readonly position: number; readonly message: string };
};

export type ProjectionRunner = {
  /** Resolves when the read models show everything up to `position`.
   *  @param options.projections only these; a faulted one fails at once. Without it: all that are not faulted.
   *  @throws NusecError PROJECTION_BEHIND when it takes longer than `timeoutMs` (5 s unless told) or a named projection is faulted */
  waitFor(position: number, options?: { readonly projections?: readonly string[]; readonly timeoutMs?: number }): Promise<void>;
  /** Builds a projection anew beside its current tables and swaps when it has caught up. @throws NusecError NOT_FOUND */
  rebuild(name: string): void;
  health(): { readonly ok: boolean; readonly outage?: string; readonly projections: readonly ProjectionHealth[] };
  close(): Promise<void>;
};

/** Builds that move together. A group beside the live one joins it when it has passed `target`. */
type Group = { builds: Build[]; position: number; readonly target: number; subscription?: Subscription };

/** Opens the read models and begins to project. The process goes on whatever a projection does: see health(). */
export function startProjections(options: RunnerOptions): ProjectionRunner {
  options.projections.forEach(requireNames);
  const db = openReadModelWriter(options.file);
  try {
    return projectAll(db, options);
  } catch (error) {
    db.close();
    throw error;
  }
}

function projectAll(db: Database, { store, projections, onTrouble = () => {} }: RunnerOptions): ProjectionRunner {
  const builds = openBuilds(db);
  builds.keepOnly(new Set(projections.map(projection => projection.name)));
  // Read models of a store that has since been replaced by an older one cannot be continued.
  const openBuild = (build: Build) => (build.position > store.head() ? builds.begin(build.projection) : build);
  let all = projections.map(projection => openBuild(builds.open(projection)));
  const published = all.filter(build => build.published).map(build => build.position);
  const live: Group = { builds: [], position: published.length > 0 ? Math.max(...published) : store.head(), target: 0 };
  const groups = new Set<Group>([live]);
  const reads = waiting();
  let outage: string | undefined;
  let closed = false;

  const project = (group: Group, events: readonly Recorded[]) => {
    for (const { projection, fault } of applyBatch(db, builds, group.builds, events)) {
      onTrouble({ projection: projection.name, position: fault?.position ?? 0, message: fault?.message ?? '' });
    }
    group.builds = group.builds.filter(build => build.fault === undefined);
    group.position = events.at(-1)?.position ?? group.position;
    outage = undefined;
    if (group !== live) joinLive(group);
    reads.check();
  };
  /** A group that has caught up moves with the others from here on; what is still unpublished is swapped in. */
  const joinLive = (group: Group) => {
    if (group.builds.length > 0 && group.position < Math.max(live.position, group.target)) return false;
    for (const build of group.builds) if (!build.published) publish(build);
    live.builds.push(...group.builds);
    groups.delete(group);
    void group.subscription?.stop();
    return true;
  };
  const publish = (build: Build) => {
    builds.publish(build);
    const stays = (other: Build) => other === build || other.projection.name !== build.projection.name;
    all = all.filter(stays);
    for (const group of groups) group.builds = group.builds.filter(stays);
  };
  const catchUp = (build: Build) => {
    const group: Group = { builds: [build], position: build.position, target: store.head() };
    if (!joinLive(group)) run(group);
  };
  const run = (group: Group) => {
    groups.add(group);
    const subscription = subscribe(store, group.position, events => project(group, events));
    group.subscription = subscription;
    void subscription.ended.then(error => {
      if (error === undefined || closed) return;
      outage = (error as Error).message;
      onTrouble({ position: group.position, message: outage });
      setTimeout(() => runAgain(group), outageRetryMs).unref();
    });
  };
  const runAgain = (group: Group) => {
    if (closed) return;
    try {
      run(group);
    } catch (error) {
      // The store has been closed before the runner.
      onTrouble({ position: group.position, message: (error as Error).message });
    }
  };
  live.builds = all.filter(build => build.published && build.position === live.position);
  run(live);
  for (const build of all) if (!live.builds.includes(build)) catchUp(build);

  /** The build that queries see, or else the one they are to see next. */
  const shown = (name: string) => {
    const own = all.filter(build => build.projection.name === name);
    return own.find(build => build.published) ?? own.at(-1);
  };
  return {
    async waitFor(position, { projections: names, timeoutMs = defaultWaitMs } = {}) {
      const reached = (name: string) => {
        const build = shown(name);
        if (build?.published && build.position >= position) return true;
        if (build?.fault === undefined) return false;
        if (names === undefined) return true;
        throw new NusecError('PROJECTION_BEHIND', `the read model ${name} stopped before position ${build.fault.position}`);
      };
      await reads.until(() => (names ?? projections.map(({ name }) => name)).every(reached), timeoutMs);
    },
    rebuild(name) {
      const projection = projections.find(candidate => candidate.name === name);
      if (projection === undefined) throw new NusecError('NOT_FOUND', `no projection ${name}`);
      const build = builds.begin(projection);
      all.push(build);
      catchUp(build);
    },
    health() {
      const states = all.map(build => healthOf(build, live.builds.includes(build), store.head()));
      const ok = outage === undefined && states.every(state => state.status !== 'faulted');
      return { ok, ...(outage === undefined ? {} : { outage }), projections: states };
    },
    async close() {
      if (closed) return;
      closed = true;
      reads.close();
      await Promise.all([...groups].map(group => group.subscription?.stop()));
      db.close();
    },
  };
}

function healthOf({ projection, position, fault }: Build, live: boolean, head: number): ProjectionHealth {
  const status = fault !== undefined ? 'faulted' : live ? 'live' : 'building';
  const { name, version } = projection;
  return { name, version, status, position, behindEvents: head - position, ...(fault === undefined ? {} : { fault }) };
}
