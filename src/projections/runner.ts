import { setImmediate as nextTurn } from 'node:timers/promises';
import type Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { createFollowers, type Follower, type Followers } from '../eventstore/followers.ts';
import { isParked } from '../eventstore/parked.ts';
import type { EventStore } from '../eventstore/port.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import { waiting } from '../eventstore/waiting.ts';
import { applyBatch } from './batch.ts';
import { type Build, openBuilds, requireNames } from './builds.ts';
import { limitWriteWaits, namingReadModels, openReadModelWriter } from './database.ts';
import { careForLog } from './logCare.ts';
import type { Projection } from './projection.ts';

/** Keeps the read models up with the event store: one live group of builds that moves together, and builds that catch up beside it. */

/** Without any progress for so long, even a patient wait is given up. */
const patientStallMs = 60_000;
/** A read model that is being built and has further to go is not waited for. */
export const maxAwaitedEvents = 20_000;

/** Under this name a read model follows the log by itself, and events are parked for it. */
export const readModelFollower = (projection: string): string => `read model ${projection}`;

export type RunnerOptions = {
  readonly store: EventStore;
  /** The read-model file; created when missing. */
  readonly file: string;
  readonly projections: readonly Projection[];
  /** By default its own. */
  readonly followers?: Followers;
  /** Called once per fault and per outage, for the log. */
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

export type WaitOptions = {
  /** Only these; a faulted one fails immediately. Default: all that are not faulted. */
  readonly projections?: readonly string[];
  /** Waits for one that is being built too, however long it takes. */
  readonly patient?: boolean;
  /** Default: 5 s; when patient, 60 s. */
  readonly stallMs?: number;
};

export type ProjectionRunner = {
  /** What `openReadModel` queries. */
  readonly writer: Database;
  /** Resolves when the read models show everything up to `position`. It waits as long as they advance.
   *  @throws NusecError PROJECTION_BEHIND when they do not advance for `stallMs`, when a named projection is faulted, or is being built and has a
   *  long way to go */
  waitFor(position: number, options?: WaitOptions): Promise<void>;
  /** Rebuilds a projection beside its current tables and swaps when it has caught up. @throws NusecError NOT_FOUND */
  rebuild(name: string): void;
  health(): { readonly ok: boolean; readonly outage?: string; readonly projections: readonly ProjectionHealth[] };
  close(): Promise<void>;
};

/** Builds that move together. A group beside the live one joins it when it has passed `target`. */
type Group = {
  builds: Build[];
  position: number;
  readonly target: number;
  /** Begun by an earlier process. */
  readonly isResumed: boolean;
  /** Position of the last erasure because of which builds were begun anew. */
  rebuiltAt: number;
  follower?: Follower;
};

/** Opens the read models and begins to project. A fault of a projection does not end the process: see health(). */
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
  const openBuild = (build: Build) => (build.position > store.seen() ? builds.begin(build.projection) : build);
  let all = projections.map(projection => openBuild(builds.open(projection)));
  const published = all.filter(build => build.published).map(build => build.position);
  limitWriteWaits(db);
  const care = careForLog(db);
  const head = store.seen();
  const reached = published.length > 0 ? Math.max(...published) : head;
  const live: Group = { builds: [], position: reached, target: head, isResumed: reached > 0, rebuiltAt: 0 };
  const groups = new Set<Group>([live]);
  const reads = waiting(store.hurry);
  let closed = false;
  const outageNow = (): string | undefined => [...groups].flatMap(({ follower }) => follower?.failure ?? [])[0];

  /** Lets a build skip the event that stopped it, when people have parked that event. */
  const takeParked = async (build: Build): Promise<boolean> => {
    const { projection, fault } = build;
    if (fault === undefined) return false;
    if (!(await isParked(store, { follower: readModelFollower(projection.name), position: fault.position }))) return false;
    build.parked.add(fault.position);
    delete build.fault;
    return true;
  };
  /** A build that joins between two turns has what the others have: the position of the group moves with each. */
  const apply = async (group: Group, events: readonly Recorded[]): Promise<void> => {
    for (let rest = events; rest.length > 0; ) {
      const { failed, taken } = namingReadModels(db.name, () => applyBatch(db, builds, group.builds, rest, group === live));
      let again = false;
      for (const build of failed) {
        const { projection, fault } = build;
        if (await takeParked(build)) again = true;
        else onTrouble({ projection: projection.name, position: fault?.position ?? 0, message: fault?.message ?? '' });
      }
      if (again) continue;
      group.position = Math.max(group.position, rest[taken - 1]?.position ?? 0);
      rest = rest.slice(taken);
      if (rest.length > 0) await nextTurn();
    }
  };
  /** Rows that name somebody who is erased go with the build they are in. What was begun after the erasure has no such rows.
   *  @returns whether the group is given up: another one has begun in its place */
  const rebuildWithoutErased = (group: Group, events: readonly Recorded[]): boolean => {
    const beganWith = group.isResumed ? group.rebuiltAt : Math.max(group.target, group.rebuiltAt);
    const erased = events.findLast(({ type, position }) => type === 'SubjectErased' && position > beganWith);
    const affected = group.builds.filter(({ projection }) => projection.namesPeople);
    if (erased === undefined || affected.length === 0) return false;
    group.rebuiltAt = erased.position;
    for (const { projection } of affected) begin(projection);
    if (group === live) return false;
    groups.delete(group);
    all = all.filter(build => !group.builds.includes(build));
    void group.follower?.close();
    return true;
  };
  const begin = (projection: Projection): void => {
    const build = builds.begin(projection);
    all.push(build);
    catchUp(build);
  };
  const project = async (group: Group, events: readonly Recorded[]): Promise<void> => {
    if (rebuildWithoutErased(group, events)) return;
    await apply(group, events);
    group.builds = group.builds.filter(build => build.fault === undefined);
    if (group === live && events.some(({ type }) => type === 'EventParked')) await goOnWithoutParked();
    if (group !== live) joinLive(group);
    reads.check();
    await care.projected(events.length);
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
  const goOnWithoutParked = async (): Promise<void> => {
    for (const build of all) if (await takeParked(build)) catchUp(build);
  };
  const catchUp = (build: Build) => {
    const group: Group = { builds: [build], position: build.position, target: store.seen(), isResumed: build.position > 0, rebuiltAt: 0 };
    if (!joinLive(group)) run(group);
  };
  const run = (group: Group) => {
    groups.add(group);
    const name = group === live ? 'read models' : readModelFollower(group.builds[0]?.projection.name ?? '');
    group.follower = own.follow(name, group.position, events => project(group, events), { mayLag: () => isBehind(group) });
  };
  /** It has not caught up yet with what was there when it began. */
  const isBehind = (group: Group) => (group !== live && groups.has(group)) || group.position < group.target;
  live.builds = all.filter(build => build.published && build.position === live.position);
  run(live);
  for (const build of all) if (!live.builds.includes(build)) catchUp(build);

  /** The build that queries see, or else the one they are to see next. */
  const shown = (name: string) => {
    const own = all.filter(build => build.projection.name === name);
    return own.find(build => build.published) ?? own.at(-1);
  };
  /** @returns false @throws NusecError PROJECTION_BEHIND */
  const requireNear = (build: Build, position: number): false => {
    const isBuilding = [...groups].some(group => group.builds.includes(build) && isBehind(group));
    if (!isBuilding || position - build.position <= maxAwaitedEvents) return false;
    const percent = Math.floor((100 * build.position) / position);
    throw new NusecError('PROJECTION_BEHIND', `the read model ${build.projection.name} is being built (${percent} %)`);
  };
  return {
    writer: db,
    async waitFor(position, { projections: names, patient = false, stallMs = patient ? patientStallMs : undefined } = {}) {
      const reached = (name: string) => {
        const build = shown(name);
        if (build?.published && build.position >= position) return true;
        if (build === undefined) return false;
        if (build.fault === undefined) return patient ? false : requireNear(build, position);
        if (names === undefined) return true;
        throw new NusecError('PROJECTION_BEHIND', `the read model ${name} stopped before position ${build.fault.position}`);
      };
      await reads.until(() => (names ?? projections.map(({ name }) => name)).every(reached), stallMs);
    },
    rebuild(name) {
      const projection = projections.find(candidate => candidate.name === name);
      if (projection === undefined) throw new NusecError('NOT_FOUND', `no projection ${name}`);
      begin(projection);
    },
    health() {
      const moves = (build: Build) => live.builds.includes(build);
      const isShown = (build: Build) => moves(build) || !all.some(other => other.projection.name === build.projection.name && moves(other));
      const states = all.map(build => ({
        ...healthOf(build, moves(build) && !isBehind(live), store.seen()),
        isShown: isShown(build),
      }));
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
      await care.close();
      db.close();
    },
  };
}

function healthOf({ projection, position, fault }: Build, live: boolean, head: number): Omit<ProjectionHealth, 'isShown'> {
  const status = fault !== undefined ? 'faulted' : live ? 'live' : 'building';
  const { name, version } = projection;
  return { name, version, status, position, behindEvents: head - position, ...(fault === undefined ? {} : { fault }) };
}
