import { setImmediate as nextTurn } from 'node:timers/promises';
import { concat, fromHex, toHex } from '../../bytes.ts';
import { counted } from '../../counted.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { requireApproved } from '../../domain/approval.ts';
import {
  type BulkRevocation,
  bulkRevocationContent,
  bulkRevocationOf,
  bulkRevocations,
  bulkRevocationsStream,
} from '../../domain/bulkRevocations.ts';
import type { RevocationReason } from '../../domain/deviceEvents.ts';
import { NusecError } from '../../errors.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Context, execute, newHexId, nowIso, stateOf } from '../base/context.ts';
import { type ListProgress, revokeList, uidBytes } from './revokeList.ts';
import { readStatesAhead } from './statesAhead.ts';

/** Revokes many devices (R86, RULE-16, I16): the UIDs are fixed when it is proposed, another person approves, and the leading process then works
 *  through them and reports progress. After a restart it resumes. Lists and live connections follow as for single revocations. */

export type BulkSelection =
  | { readonly uids: readonly string[] }
  | { readonly line: string; readonly status?: string | undefined }
  | { readonly lines: readonly string[]; readonly status?: string | undefined }
  | { readonly all: true; readonly status?: string | undefined }
  | { readonly jobId: string };

export type BulkRevocations = {
  /** @throws NusecError NOT_FOUND (no device selected), BODY_TOO_LARGE (too many), RATE_LIMITED */
  propose(selection: BulkSelection, reason: RevocationReason, note: string, by: Actor): Promise<BulkRevocation>;
  /** @throws NusecError FOUR_EYES_REQUIRED, STATE, NOT_FOUND, CONFLICT (not what was seen) */
  approve(id: string, by: Actor, approval?: Approval): Promise<BulkRevocation>;
  /** The devices, fixed with the proposal: UIDs, one a line, a page at a time. @throws NusecError NOT_FOUND */
  uidLines(id: string): Promise<AsyncIterable<string>>;
  /** Nothing more is revoked from here on. @throws NusecError STATE, NOT_FOUND */
  cancel(id: string, by: Actor): Promise<BulkRevocation>;
  get(id: string): Promise<BulkRevocation>;
  list(): Promise<readonly BulkRevocation[]>;
};

/** What one blob of UIDs holds. */
const maxUids = 1_000_000;
/** Of a page of UIDs: reading one does not hold up the others. */
const pageRows = 2000;

export function createBulkRevocations(ctx: Context): BulkRevocations {
  const change = (command: Command, by: Actor) => execute(ctx, bulkRevocations, streamOf(ctx), command, by);
  return {
    async propose(selection, reason, note, by) {
      const uids = await uidsOf(ctx, selection);
      if (uids.length === 0) throw new NusecError('NOT_FOUND', 'the selection has no devices');
      const uidsSha256 = await ctx.blobs.put(uids);
      const id = newHexId(ctx);
      const wish = { id, reason, note, uidsSha256, count: uids.length / uidBytes };
      const { state } = await change({ type: 'ProposeBulkRevocation', ...wish, by, now: nowIso(ctx) }, by);
      return bulkRevocationOf(state, id);
    },
    async approve(id, by, approval) {
      const { state } = await approve(
        ctx,
        {
          decider: bulkRevocations,
          stream: streamOf(ctx),
          content: async () => bulkRevocationContent(bulkRevocationOf(await stateNow(ctx), id)),
          command: content => ({ type: 'ApproveBulkRevocation' as const, id, by, now: nowIso(ctx), content }),
        },
        by,
        approval,
      );
      return bulkRevocationOf(state, id);
    },
    async uidLines(id) {
      return linesOf(await ctx.blobs.get(bulkRevocationOf(await stateNow(ctx), id).uidsSha256));
    },
    cancel: async (id, by) => bulkRevocationOf((await change({ type: 'CancelBulkRevocation', id, by, now: nowIso(ctx) }, by)).state, id),
    get: async id => bulkRevocationOf(await stateNow(ctx), id),
    list: async () => [...(await stateNow(ctx)).byId.values()].reverse(),
  };
}

type Command = Parameters<typeof bulkRevocations.decide>[0];
const streamOf = (ctx: Context): string => bulkRevocationsStream(ctx.project);
const stateNow = (ctx: Context) => stateOf(ctx, bulkRevocations, streamOf(ctx));

/** After a failure, such as a full disk, a revocation goes on by itself, with what is approved meanwhile in between. */
export type BulkPauses = { readonly firstMs: number; readonly maxMs: number };
const defaultPauses: BulkPauses = { firstMs: 1000, maxMs: 60_000 };

/** Works through what is approved, one after the other. @param eventsFile of the store: the devices are read ahead from it */
export async function startBulkRevocationWork(
  ctx: Context,
  alarms: Alarms,
  eventsFile: string,
  pauses = defaultPauses,
): Promise<{ close(): Promise<void> }> {
  const ahead = readStatesAhead(ctx, eventsFile);
  const change = (command: Command, by: Actor) => execute(ctx, bulkRevocations, streamOf(ctx), command, by);
  let running: Promise<void> = Promise.resolve();
  let isOpen = true;

  const retries = new Set<NodeJS.Timeout>();
  const run = (id: string, pauseMs = pauses.firstMs): void => {
    running = running.then(() => work(id)).catch(error => stopped(id, error, pauseMs));
  };
  const stopped = async (id: string, error: unknown, pauseMs: number): Promise<void> => {
    // Another process leads, and continues it.
    if (!isOpen || (error instanceof NusecError && error.code === 'LEADERSHIP_OVER')) return;
    const retry = setTimeout(() => {
      retries.delete(retry);
      run(id, Math.min(2 * pauseMs, pauses.maxMs));
    }, pauseMs).unref();
    retries.add(retry);
    const detail = error instanceof Error ? error.message : 'unknown';
    ctx.log.error({ id, error: detail }, 'a bulk revocation has stopped, and is tried again');
    // What stopped it may keep the alarm out of the log too: it is raised when it happens again.
    await alarms.raise({ code: 'BULK_REVOCATION_STOPPED', subject: `bulk-revocation-${id}`, detail }).catch(() => undefined);
  };
  const work = async (id: string): Promise<void> => {
    const from = bulkRevocationOf(await stateNow(ctx), id);
    if (!isOpen || from.status !== 'RUNNING') return;
    requireApproved(from.approvedSha256, sha256Hex(bulkRevocationContent(from)));
    const uids = await ctx.blobs.get(from.uidsSha256);
    const { reason, approvedBy: by = 'system:revocation' } = from;
    /** @returns whether it is still to be executed */
    const report = async (progress: ListProgress): Promise<boolean> => {
      const { state } = await change({ type: 'ProgressBulkRevocation', id, ...progress }, by).catch(async error => {
        const state = await stateNow(ctx);
        if (bulkRevocationOf(state, id).status === 'RUNNING') throw error;
        return { state };
      });
      return bulkRevocationOf(state, id).status === 'RUNNING';
    };
    await revokeList(ctx, ahead, { uids, reason, by, from, report, isOpen: () => isOpen });
    const now = bulkRevocationOf(await stateNow(ctx), id);
    if (now.status === 'RUNNING' && now.done >= now.count) await change({ type: 'FinishBulkRevocation', id, now: nowIso(ctx) }, by);
  };
  /** What two people wanted, one has stopped. */
  const tellOfEnd = async (id: string, by: Actor): Promise<void> => {
    const { approvedBy, done, count } = bulkRevocationOf(await stateNow(ctx), id);
    if (approvedBy === undefined) return;
    const detail = `${by} has cancelled it after ${done} of ${counted(count, 'device')}`;
    await alarms.raise({ code: 'BULK_REVOCATION_STOPPED', subject: `bulk-revocation-${id}`, detail });
  };
  const begun = await ctx.store.head();
  for (const { id, status } of (await stateNow(ctx)).byId.values()) if (status === 'RUNNING') run(id);
  const follower = ctx.followers.follow('bulk revocations', begun, events => {
    for (const { stream, type, data } of events) {
      if (type === 'BulkRevocationProposed') ahead.begin();
      if (type === 'BulkRevocationApproved' && stream === streamOf(ctx)) run(data.id);
      if (type === 'BulkRevocationCancelled') running = running.then(() => tellOfEnd(data.id, data.by)).catch(() => undefined);
    }
  });

  return {
    async close() {
      isOpen = false;
      for (const retry of retries) clearTimeout(retry);
      await follower.close();
      await running;
      await ahead.close();
    },
  };
}

async function* linesOf(uids: Uint8Array): AsyncGenerator<string> {
  for (let from = 0; from < uids.length; from += pageRows * uidBytes, await nextTurn()) {
    const page = uids.subarray(from, from + pageRows * uidBytes);
    yield toHex(page).replace(/.{32}/g, uid => `${uid}\n`);
  }
}

/** 16 bytes each, ascending, each once; taken in page by page, with turns for others in between. */
async function uidsOf(ctx: Context, selection: BulkSelection): Promise<Uint8Array> {
  if ('uids' in selection) return fromHex([...new Set(selection.uids)].sort().join(''));
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['devices'] });
  const { uids: uidsOn } = deviceQueries(ctx.reads.db);
  const filter = filterOf(selection);
  const pages: Uint8Array[] = [];
  for (let after: string | undefined; ; await nextTurn()) {
    const page = await uidsOn({ ...filter, limit: pageRows, after });
    pages.push(fromHex(page.join('')));
    if (pages.length * pageRows > maxUids) throw new NusecError('BODY_TOO_LARGE', `at most ${maxUids} devices in one proposal`);
    if (page.length < pageRows) return concat(...pages);
    after = page.at(-1);
  }
}

function filterOf(selection: Exclude<BulkSelection, { readonly uids: readonly string[] }>) {
  if ('jobId' in selection) return { jobId: selection.jobId };
  const { status } = selection;
  if ('all' in selection) return { status };
  return { lines: 'line' in selection ? [selection.line] : selection.lines, status };
}
