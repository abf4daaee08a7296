import { device, deviceStream } from '../domain/device.ts';
import { grant, grantStream } from '../domain/grant.ts';
import { job, jobStream } from '../domain/job.ts';
import { line, lineStream } from '../domain/line.ts';
import { programmer, programmerStream } from '../domain/programmer.ts';
import { release, releaseStream } from '../domain/release.ts';
import { isInScope, type Place, type Scope } from '../domain/roles.ts';
import { rollout, rolloutStream } from '../domain/rollout.ts';
import { NusecError } from '../errors.ts';
import { expecting, requireExpected } from '../eventstore/expectation.ts';
import { loadState } from '../eventstore/handle.ts';
import { lru } from '../lru.ts';
import { jobQueries } from '../projections/jobs.ts';
import { type Context, stateOf } from '../services/base/context.ts';
import type { ScopeCheck } from './auth.ts';
import { revisionsIn } from './conditional.ts';
import { routedMethod } from './methods.ts';

/** Where things belong, and whether a person who is limited to a scope may see them. What is beyond the scope is not there. */

/** @returns false also for what does not exist */
type Judge = (ctx: Context, scope: Scope, id: string) => Promise<boolean>;

const inPlace =
  (placeOf: (ctx: Context, id: string) => Promise<Place | undefined>): Judge =>
  async (ctx, scope, id) => {
    const place = await placeOf(ctx, id);
    return place !== undefined && isInScope(scope, place);
  };

async function placeOfJob(ctx: Context, id: string): Promise<Place | undefined> {
  const state = await stateOf(ctx, job, jobStream(id));
  return state.status === 'NONE' ? undefined : state;
}

/** A device is where its job is. */
async function placeOfDevice(ctx: Context, uid: string): Promise<Place | undefined> {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status === 'NONE') return undefined;
  const { line, jobId } = state;
  return { line, jobId, site: (await placeOfJob(ctx, jobId))?.site };
}

async function placeOfRelease(ctx: Context, id: string): Promise<Place | undefined> {
  const state = await stateOf(ctx, release, releaseStream(id));
  return state.status === 'NONE' ? undefined : { line: state.line };
}

async function placeOfRollout(ctx: Context, id: string): Promise<Place | undefined> {
  const state = await stateOf(ctx, rollout, rolloutStream(id));
  return state.status === 'NONE' ? undefined : { line: state.line };
}

async function placeOfGrant(ctx: Context, id: string): Promise<Place | undefined> {
  const state = await stateOf(ctx, grant, grantStream(id));
  if (state.status === 'NONE') return undefined;
  const unit = await jobQueries(ctx.reads.db).unit(id);
  return unit === undefined ? undefined : placeOfJob(ctx, unit.job_id);
}

/** A programmer is where it was shipped to; it works for the lines and jobs it has shares of. */
const isProgrammerInScope: Judge = async (ctx, { sites, ...work }, uid) => {
  const state = await stateOf(ctx, programmer, programmerStream(uid));
  if (state.status === 'NONE' || !isInScope({ ...(sites && { sites }) }, { site: state.shippedTo })) return false;
  if (work.lines === undefined && work.jobs === undefined) return true;
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['jobs'] });
  for (const { job_id } of await jobQueries(ctx.reads.db).allotmentsOf(uid)) if (await judges.job(ctx, work, job_id)) return true;
  return false;
};

const judges = {
  job: inPlace(placeOfJob),
  device: inPlace(placeOfDevice),
  programmer: isProgrammerInScope,
  release: inPlace(placeOfRelease),
  rollout: inPlace(placeOfRollout),
  line: inPlace(async (_, line) => ({ line })),
  grant: inPlace(placeOfGrant),
} satisfies Record<string, Judge>;
type Kind = keyof typeof judges;

/** @throws NusecError NOT_FOUND when it is beyond the scope */
export async function requireInScope(ctx: Context, scope: Scope | undefined, kind: Kind, id: string): Promise<void> {
  if (scope !== undefined && !(await judges[kind](ctx, scope, id))) throw new NusecError('NOT_FOUND', `there is no ${kind} ${id}`);
}

/** What `auth.personWithin` asks: scope, and how the caller saw it (`If-Match`). @param param of the path, that names the thing */
export const within =
  (ctx: Context, kind: Kind, param: string): ScopeCheck =>
  async (c, scope) => {
    const id = c.req.param(param) ?? '';
    await requireInScope(ctx, scope, kind, id);
    const { decider, stream } = streams[kind](id);
    const isLook = routedMethod(c) === 'GET';
    const revisions = isLook ? undefined : revisionsIn(c.req.header('If-Match'));
    if (!isLook && revisions === undefined) return undefined;
    const { revision } = await loadState(ctx.store, decider as never, stream);
    if (isLook) c.set('revision', revision);
    // What is recorded elsewhere, such as a share of a job, is judged now; what is recorded here, once more with the decision.
    const seen = revisions && { stream, revisions };
    return expecting(seen, () => {
      requireExpected(stream, revision);
      return seen;
    });
  };

/** Where each is recorded. */
const streams = {
  job: id => ({ decider: job, stream: jobStream(id) }),
  device: id => ({ decider: device, stream: deviceStream(id) }),
  programmer: id => ({ decider: programmer, stream: programmerStream(id) }),
  release: id => ({ decider: release, stream: releaseStream(id) }),
  rollout: id => ({ decider: rollout, stream: rolloutStream(id) }),
  line: id => ({ decider: line, stream: lineStream(id) }),
  grant: id => ({ decider: grant, stream: grantStream(id) }),
} satisfies Record<Kind, (id: string) => { readonly decider: object; readonly stream: string }>;

/** @throws NusecError FORBIDDEN when what is to be made there would be beyond the scope of its maker */
export function requirePlace(scope: Scope | undefined, place: Place): void {
  if (scope !== undefined && !isInScope(scope, place)) throw new NusecError('FORBIDDEN', 'this would be beyond the scope of your account');
}

const maxRemembered = 1000;
const named: readonly Kind[] = ['device', 'job', 'programmer', 'release'];

/** Whether what a stream, or the subject of an alarm, is about is within a scope. Each is judged once. */
function subjectsInScope(ctx: Context, scope: Scope): (subject: string) => Promise<boolean> {
  const known = lru<boolean>(maxRemembered);
  return async subject => {
    const before = known.get(subject);
    if (before !== undefined) return before;
    const is = await isSubjectInScope(ctx, scope, subject);
    known.set(subject, is);
    return is;
  };
}

/** The same for people who may see everything. */
export const visibleTo = (ctx: Context, scope: Scope | undefined): ((subject: string) => Promise<boolean>) =>
  scope === undefined ? async () => true : subjectsInScope(ctx, scope);

const ofKind = /^(device|job|programmer|release|rollout|line|grant)-(.+)$/;

async function isSubjectInScope(ctx: Context, scope: Scope, subject: string): Promise<boolean> {
  const [, allotted] = /^allotment-([0-9a-f]{32})-/.exec(subject) ?? [];
  if (allotted !== undefined) return judges.job(ctx, scope, allotted);
  const [, kind, id = ''] = ofKind.exec(subject) ?? [];
  if (kind !== undefined) return judges[kind as Kind](ctx, scope, id);
  // Alarms name a device, a job, a programmer or a release by its id alone.
  const bare = /^(?:alarm-)?([0-9a-f]{32})$/.exec(subject)?.[1];
  if (bare !== undefined) return (await Promise.all(named.map(one => judges[one](ctx, scope, bare)))).includes(true);
  return subject.startsWith('alarm-') ? isSubjectInScope(ctx, scope, subject.slice('alarm-'.length)) : false;
}
