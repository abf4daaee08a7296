import type { Actor } from '../../domain/actor.ts';
import type { ApprovedContent } from '../../domain/approval.ts';
import { isInUse, operators, operatorsStream } from '../../domain/operators.ts';
import type { Role } from '../../domain/roles.ts';
import { type Erasure, erasureContent, isProposed, subjects, subjectsStream } from '../../domain/subjects.ts';
import { NusecError } from '../../errors.ts';
import type { RecordedEvent } from '../../eventstore/port.ts';
import { forgetStates } from '../../eventstore/stateCache.ts';
import { jobQueries } from '../../projections/jobs.ts';
import { programmerQueries } from '../../projections/programmers.ts';
import type { Alarms, Parts } from '../base/alarms.ts';
import { approve, requireNothingSeen } from '../base/approval.ts';
import { type Context, execute, nowIso, stateOf } from '../base/context.ts';
import type { KnownSubject } from '../base/subjectRegistry.ts';
import { earlierApprover, proposalIn } from './approvals.ts';

/** The people whom the log speaks of: what is known of one (GDPR article 15), and erasure (article 17). Two people erase: the key is destroyed, and what
 *  was written under it can be read by nobody any more, while every hash and proof stays as it was. */

/** Who proposes and who approves. */
export const erasureRole: Role = 'administrator';

export type SubjectRow = KnownSubject & { readonly erasure?: Erasure };

/** Oldest first. What is erased has no name any more. */
export async function listSubjects(ctx: Context): Promise<readonly SubjectRow[]> {
  const { byId } = await stateOf(ctx, subjects, subjectsStream);
  return ctx.subjects.list().map(subject => {
    const erasure = byId.get(subject.id);
    return erasure === undefined ? subject : { ...subject, erasure };
  });
}

/** @property reason of who proposes @property seenSha256 hash of the proposal that the approver looked at */
export type ErasureWish = { readonly reason: string; readonly seenSha256?: string | undefined };

/** Proposes that somebody is erased, or approves what another person has proposed, and does it.
 *  @param name of the administrator, who was identified
 *  @throws NusecError NOT_FOUND, STATE (still in use), FOUR_EYES_REQUIRED (not let in when it was proposed), CONFLICT (not what was seen) */
export async function eraseSubject(
  { ctx, alarms }: Parts,
  id: string,
  { reason, seenSha256 }: ErasureWish,
  name: string,
): Promise<Erasure> {
  const by: Actor = `operator:${name}`;
  const [now, stream] = [nowIso(ctx), subjectsStream];
  const erasure = (await stateOf(ctx, subjects, stream)).byId.get(id);
  const subject = ctx.subjects.byId(id);
  if (erasure?.status === 'ERASED') return erasure;
  if (subject === undefined) throw new NusecError('NOT_FOUND', 'there is no such person or site: nusec subject list');
  await requireUnused(ctx, subject);
  if (erasure !== undefined && isProposed(erasure, now) && erasure.proposedBy !== by) {
    const condition = earlierApprover(ctx, name, [erasureRole], proposalIn(stream, 'SubjectErasureProposed', id));
    const content = async () => erasureContent(id, (await stateOf(ctx, subjects, stream)).byId.get(id) ?? erasure);
    const command = (approved: ApprovedContent) => ({ type: 'ApproveErasure' as const, id, by, now, content: approved });
    await approve(ctx, { decider: subjects, stream, content, command }, by, { condition, seenSha256 });
    await completeErasure({ ctx, alarms }, id);
  } else if (!isProposed(erasure, now)) {
    requireNothingSeen(seenSha256);
    await execute(ctx, subjects, stream, { type: 'ProposeErasure', id, kind: subject.kind, reason, by, now }, by);
    await alarms.raise({ code: 'ERASURE', subject: `subject-${id}`, detail: `${by} proposes to erase ${pseudonym(id)}` }, 'always');
  }
  return (await stateOf(ctx, subjects, stream)).byId.get(id) as Erasure;
}

const pseudonym = (id: string): string => `~${id}`;

/** Whoever still works here is named by what they do; whatever waits for them would be nobody's. */
async function requireUnused(ctx: Context, { kind, name }: Pick<KnownSubject, 'kind' | 'name'>): Promise<void> {
  if (kind === 'address') return;
  if (isInUse(await stateOf(ctx, operators, operatorsStream), kind, name))
    throw new NusecError(
      'STATE',
      kind === 'operator' ? `${name} is an operator: remove them first` : `the scope of an operator names ${name}`,
    );
  if (kind !== 'site') return;
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['jobs', 'programmers'] });
  if ((await jobQueries(ctx.reads.db).openAtSite(name)) || (await programmerQueries(ctx.reads.db).anyAt(name)))
    throw new NusecError('STATE', `${name} has jobs or programmers still`);
}

/** Destroys the key, then records it. After a crash in between it is done again. */
async function completeErasure({ ctx, alarms }: Parts, id: string): Promise<void> {
  const keySha256 = await ctx.subjects.destroy(id);
  const record = { type: 'RecordErasure', id, ...(keySha256 !== undefined && { keySha256 }) } as const;
  const { events } = await execute(ctx, subjects, subjectsStream, record, 'system:subjects');
  if (events.length === 0) return;
  forgetStates(ctx.store);
  await alarms.raise({ code: 'ERASURE', subject: `subject-${id}`, detail: `${pseudonym(id)} is erased` }, 'always');
}

/** What a process does when somebody is erased, whichever process did it: forgets the key and every state that shows the name. Read models
 *  are built again by the runner. @param onErased removes copies elsewhere @returns what stops it */
export function followErasures(ctx: Context, onErased: () => void): { close(): Promise<void> } {
  return ctx.followers.follow('erasures', ctx.store.seen(), async events => {
    if (!events.some(({ type }) => type === 'SubjectErased' || type === 'AddressesForgotten')) return;
    await ctx.subjects.refresh();
    forgetStates(ctx.store);
    onErased();
  });
}

/** Before anything is shown: completes what was approved, and destroys keys of erased people that are there again, because `subjects.db` was put back. */
export async function enforceErasures(parts: { readonly ctx: Context; readonly alarms: Alarms }): Promise<void> {
  const { ctx, alarms } = parts;
  const { byId } = await stateOf(ctx, subjects, subjectsStream);
  for (const [id, { status }] of byId) {
    if (status === 'APPROVED') await completeErasure(parts, id);
    if (status !== 'ERASED' || (await ctx.subjects.destroy(id)) === undefined) continue;
    const detail = `the key of ${pseudonym(id)}, who was erased, was there again, and is destroyed again: an older subjects.db was put back`;
    await alarms.raise({ code: 'ERASED_CAME_BACK', subject: `subject-${id}`, detail }, 'always');
  }
  forgetStates(ctx.store);
}

/** After an older store was put back: whoever was erased by then is erased in it too. @returns how many had come back */
export async function eraseAgain(ctx: Context, ids: readonly string[]): Promise<number> {
  let back = 0;
  for (const id of ids) {
    const keySha256 = await ctx.subjects.destroy(id);
    if (keySha256 !== undefined) back += 1;
    const record = { type: 'RecordErasure', id, again: true, ...(keySha256 !== undefined && { keySha256 }) } as const;
    await execute(ctx, subjects, subjectsStream, record, 'system:restore');
  }
  forgetStates(ctx.store);
  return back;
}

/** Events that one page of a subject's data looks at. */
const maxScannedEvents = 5000;

export type SubjectData = { readonly events: readonly RecordedEvent[]; readonly next: number; readonly head: number };

/** What the log has of one person, in a form that can be read: everything they did, and everything that names them.
 *  @throws NusecError NOT_FOUND */
export async function subjectData(ctx: Context, id: string, after: number): Promise<SubjectData> {
  const subject = ctx.subjects.byId(id);
  if (subject === undefined) throw new NusecError('NOT_FOUND', 'there is no such person or site, or it is erased');
  const [stored, readable] = await Promise.all([
    ctx.storedLog.readAll(after, maxScannedEvents),
    ctx.store.readAll(after, maxScannedEvents),
  ]);
  // Events of earlier versions have the name in clear.
  const names = [pseudonym(id), JSON.stringify(subject.name), `operator:${subject.name}"`];
  const isAbout = (event: RecordedEvent | undefined): boolean => {
    const text = JSON.stringify([event?.by, event?.stream, event?.data]);
    return names.some(name => text.includes(name));
  };
  const events = readable.slice(0, stored.length).filter((_, i) => isAbout(stored[i]));
  return { events, next: stored.at(-1)?.position ?? after, head: await ctx.store.head() };
}
