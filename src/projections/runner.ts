import type Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { createFollowers, type Follower, type Followers } from '../eventstore/followers.ts';
import type { EventStore } from '../eventstore/port.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import { waiting } from '../eventstore/waiting.ts';
import { applyBatch } from './batch.ts';
import { type Build, openBuilds, requireNames } from './builds.ts';
import { openReadModelWriter } from './database.ts';
import type { Projection } from './projection.ts';

/** Keeps the read models up with the event store: one live group of builds that moves together, and builds that catch up beside it. */

/** For waits at the start of a process, where nothing else is held up. */
export const startStallMs = 60_000;

export type RunnerOptions = {
  readonly store: EventStore;
  /** The read-model file; created when missing, locked to nobody: readers open it with openReadModel. */
  readonly file: string;
  readonly projections: readonly Projection[];
  /** By default its own. */
  readonly followers?: Followers;
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
  /** Queries see this build, or wait for it: there is no older one, or one that is no longer kept up. */
  readonly isShown: boolean;
  /** What the projection threw, and at which position. */
  readonly fault?: { readonly position: number; readonly message: string };
};

export type ProjectionRunner = {
  /** Resolves when the read models show everything up to `position`.
   *  @param options.projections only these; a faulted one fails at once. Without it: all that are not faulted.
   *  It waits as long as they advance.
   *  @throws NusecError PROJECTION_BEHIND when they do not advance for `stallMs` (5 s by default) or a named projection is faulted */
  waitFor(position: number, options?: { readonly projections?: readonly string[]; readonly stallMs?: number }): Promise<void>;
  /** Builds a projection anew beside its current tables and swaps when it has caught up. @throws NusecError NOT_FOUND */
  rebuild(name: string): void;
  health(): { readonly ok: boolean; readonly outage?: string; readonly projections: readonly ProjectionHealth[] };
  close(): Promise<void>;
};

/** Builds that move together. A group beside the live one joins it when it has passed `target`. */
type Group = { builds: Build[]; position: number; readonly target: number; follower?: Follower };

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

function projectAll(db: Database, { store, projections, followers, onTrouble = () => {} }: RunnerOptions): ProjectionRunner {
  const own = followers ?? createFollowers(store, ({ position, failure }) => onTrouble({ position, message: failure ?? 'late' }));
  const builds = openBuilds(db);
  builds.keepOnly(new Set(projections.map(projection => projection.name)));
  // What is ahead of the store cannot be continued.
  const openBuild = (build: Build) => (build.position > store.head() ? builds.begin(build.projection) : build);
  let all = projections.map(projection => openBuild(builds.open(projection)));
  const published = all.filter(build => build.published).map(build => build.position);
  const live: Group = { builds: [], position: published.length > 0 ? Math.max(...published) : store.head(), target: 0 };
  const groups = new Set<Group>([live]);
  const reads = waiting();
  let closed = false;
  const outageNow = (): string | undefined => [...groups].flatMap(({ follower }) => follower?.failure ?? [])[0];

  const project = (group: Group, events: readonly Recorded[]) => {
    for (const { projection, fault } of applyBatch(db, builds, group.builds, events, group === live)) {
      onTrouble({ projection: projection.name, position: fault?.position ?? 0, message: fault?.message ?? '' });
    }
    group.builds = group.builds.filter(build => build.fault === undefined);
    group.position = events.at(-1)?.position ?? group.position;
    if (group !== live) joinLive(group);
    reads.check();
  };
  /** A group that has caught up moves with the others from here on; what is still unpublished is swapped in. */
  const joinLive = (group: Group) => {
    if (group.builds.length > 0 && group.position < Math.max(live.position, group.target)) return false;
    for (const build of group.builds) if (!build.published) publish(build);
    live.builds.push(...group.builds);
    groups.delete(group);
    void group.follower?.close();
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
    const name = group === live ? 'read models' : `read model ${group.builds[0]?.projection.name}`;
    group.follower = own.follow(name, group.position, events => project(group, events), { mayLag: group !== live });
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
    async waitFor(position, { projections: names, stallMs } = {}) {
      const reached = (name: string) => {
        const build = shown(name);
        if (build?.published && build.position >= position) return true;
        if (build?.fault === undefined) return false;
        if (names === undefined) return true;
        throw new NusecError('PROJECTION_BEHIND', `the read model ${name} stopped before position ${build.fault.position}`);
      };
      await reads.until(() => (names ?? projections.map(({ name }) => name)).every(reached), stallMs);
    },
    rebuild(name) {
      const projection = projections.find(candidate => candidate.name === name);
      if (projection === undefined) throw new NusecError('NOT_FOUND', `no projection ${name}`);
      const build = builds.begin(projection);
      all.push(build);
      catchUp(build);
    },
    health() {
      const isLive = (build: Build) => live.builds.includes(build);
      const isShown = (build: Build) =>
        isLive(build) || !all.some(other => other.projection.name === build.projection.name && isLive(other));
      const states = all.map(build => ({ ...healthOf(build, isLive(build), store.head()), isShown: isShown(build) }));
      const outage = outageNow();
      const ok = outage === undefined && states.every(state => state.status !== 'faulted');
      return { ok, ...(outage === undefined ? {} : { outage }), projections: states };
    },
    async close() {
      if (closed) return;
      closed = true;
      reads.close();
      await Promise.all([...groups].map(group => group.follower?.close()));
      if (followers === undefined) await own.close();
      db.close();
    },
  };
}

function healthOf({ projection, position, fault }: Build, live: boolean, head: number): Omit<ProjectionHealth, 'isShown'> {
  const status = fault !== undefined ? 'faulted' : live ? 'live' : 'building';
  const { name, version } = projection;
  return { name, version, status, position, behindEvents: head - position, ...(fault === undefined ? {} : { fault }) };
}
