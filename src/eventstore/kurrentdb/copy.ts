import { setTimeout as sleep } from 'node:timers/promises';
import { NusecError } from '../../errors.ts';
import { nextAnswer } from '../../nextAnswer.ts';
import { within } from '../../within.ts';
import type { Blob, Storage } from '../storage.ts';
import { damaged } from '../storeError.ts';
import { commitSignal } from '../subscription.ts';
import type { CommitRequest, Writer } from '../writer.ts';
import type { CommitLog, LoggedCommit } from './commitLog.ts';

/** The copy of the log that the processes of one machine share: a store's file that takes in every commit, in order, once. */

/** Commits of one transaction. */
const maxTakenCommits = 256;
/** For so long what was the newest commit counts as the newest one. Beyond it the log is asked, so a process that is cut off from the log answers
 *  nothing that is older. */
const maxStaleMs = 1000;
/** How often the log is asked for its newest commit. */
const confirmEveryMs = 250;
/** Before the log is followed again after the connection broke. */
const firstPauseMs = 50;
const maxPauseMs = 1000;
/** How long what is known to be in the log may take to come by itself. */
const pushMs = 100;
/** Another process holds the write lock of the file for fractions of a millisecond. */
const lockPauseMs = 1;

export type Copy = {
  /** Revision of the newest commit here. What is read from the copy afterwards has at least that. */
  revision(): number;
  /** Takes in what comes next of these, with its blobs; what is here already is left out.
   *  @param known blobs that need not be fetched @throws NusecError STORE_DAMAGED, STORE_UNAVAILABLE */
  take(commits: readonly LoggedCommit[], known?: readonly Blob[]): Promise<void>;
  /** Resolves when everything that was stored before the call is here. @throws NusecError STORE_UNAVAILABLE, STORE_DAMAGED */
  current(): Promise<void>;
  /** Resolves when there is more than that here. Who lost the race for the end of the log gets what it missed as fast as the winner its answer, so
   *  both have the same chance at the next one. */
  past(known: number): Promise<void>;
  /** As current, unless it was so within the last second. */
  fresh(): Promise<void>;
  /** The copy has everything that was stored up to now, as an append has shown. */
  confirmed(): void;
  /** Whether the newest commit here says that the log was moved out of KurrentDB. */
  isClosed(): boolean;
  close(): Promise<void>;
};

type CopyParts = {
  readonly storage: Pick<Storage, 'taken'>;
  readonly writer: Writer;
  /** To be called when more is here. */
  readonly changed: () => void;
  /** Revision of the commit here that closes the log, if that is the newest one. */
  readonly closedAt: number | undefined;
  /** A log that is closed is no trouble: it is being moved. */
  readonly takesClosed: boolean;
};

export function keepCopy({ storage, writer, changed, takesClosed, ...known }: CopyParts, log: CommitLog): Copy {
  let { closedAt } = known;
  let confirmedAtMs = Number.NEGATIVE_INFINITY;
  let failures = 0;
  let closed = false;
  let damage: NusecError | undefined;
  let following: { close(): void } | undefined;
  const advanced = commitSignal();
  /** The newest commit here, as far as this process knows: another one of the machine may have taken in more. */
  let atLeast = -1;
  const revision = (): number => {
    atLeast = storage.taken().revision;
    return atLeast;
  };
  const isClosed = (): boolean => !takesClosed && closedAt !== undefined && closedAt === revision();

  /** A blob that is not there was dropped since. */
  const blobsOf = async ({ commit }: LoggedCommit, known: readonly Blob[]): Promise<readonly Blob[]> => {
    const fetched = (commit.blobs ?? []).map(async (sha256): Promise<Blob | undefined> => {
      const bytes = known.find(blob => blob.sha256 === sha256)?.bytes ?? (await log.blob(sha256));
      return bytes && { sha256, bytes };
    });
    return (await Promise.all(fetched)).filter(blob => blob !== undefined);
  };
  const takeGroup = async (commits: readonly LoggedCommit[], known: readonly Blob[]): Promise<void> => {
    const requests: CommitRequest[] = [];
    for (const commit of commits) requests.push(requestOf(commit, await blobsOf(commit, known)));
    for (;;) {
      const outcomes = writer.write(requests);
      if (outcomes === undefined) {
        await sleep(lockPauseMs);
        continue;
      }
      const refusal = outcomes.find(outcome => outcome instanceof Error);
      if (refusal !== undefined) throw damaged(`a commit of the log cannot be taken in: ${(refusal as Error).message}`, refusal);
      return;
    }
  };
  const take = async (commits: readonly LoggedCommit[], known: readonly Blob[] = []): Promise<void> => {
    if (damage !== undefined) throw damage;
    if (commits.every(commit => commit.revision <= atLeast)) return;
    const newest = revision();
    const next = commits.filter(commit => commit.revision > newest);
    // A gap: what is between comes from another side.
    if (next[0] === undefined || next[0].revision !== newest + 1) return;
    try {
      for (let done = 0; done < next.length; done += maxTakenCommits) await takeGroup(next.slice(done, done + maxTakenCommits), known);
      atLeast = Math.max(atLeast, (next.at(-1) as LoggedCommit).revision);
    } catch (error) {
      if (error instanceof NusecError && error.code === 'STORE_DAMAGED') damage = error;
      throw error;
    }
    closedAt = next.findLast(({ commit }) => commit.closed !== undefined)?.revision ?? closedAt;
    changed();
    advanced.fire();
  };
  const upTo = async (target: number): Promise<void> => {
    while (revision() < target) {
      const known = revision();
      await log.scan(known + 1, target - known, take);
      if (revision() === known) throw damaged(`the log ends before commit ${target}, which it had`);
    }
  };
  const ask = async (): Promise<void> => {
    if (damage !== undefined) throw damage;
    const atMs = performance.now();
    const known = revision();
    const head = await log.head();
    if (head < known) throw damaged(`the log has commits up to ${head}, but ${known} was acknowledged`);
    await upTo(head);
    if (isClosed()) throw movedAway();
    confirmedAtMs = Math.max(confirmedAtMs, atMs);
    // Not before: all that was there already would come twice.
    if (following === undefined) follow();
  };
  const { ask: current, present } = nextAnswer(ask);
  const follow = (): void => {
    if (closed) return;
    following = log.follow(
      () => atLeast,
      async commits => {
        failures = 0;
        await take(commits);
      },
      () => {
        const pauseMs = Math.min(firstPauseMs * 2 ** failures, maxPauseMs);
        failures += 1;
        if (damage === undefined) setTimeout(follow, pauseMs).unref();
      },
    );
  };
  const confirming = setInterval(() => {
    if (performance.now() - confirmedAtMs > confirmEveryMs && present() === undefined) void current().catch(() => undefined);
  }, confirmEveryMs);
  confirming.unref();
  return {
    revision,
    take,
    current,
    async past(known) {
      const untilMs = performance.now() + pushMs;
      while (revision() <= known && performance.now() < untilMs) await within(advanced.wait(), pushMs);
      if (revision() <= known) await current();
    },
    async fresh() {
      if (damage !== undefined) throw damage;
      if (isClosed() || performance.now() - confirmedAtMs > maxStaleMs) await current();
    },
    confirmed() {
      confirmedAtMs = performance.now();
    },
    isClosed,
    async close() {
      closed = true;
      clearInterval(confirming);
      following?.close();
      await present()?.catch(() => undefined);
    },
  };
}

function requestOf({ revision, id, commit }: LoggedCommit, blobs: readonly Blob[]): CommitRequest {
  const { first, appends, dropped, epoch, seal } = commit;
  return {
    appends: appends.map(({ stream, events }) => ({ stream, expected: 'any', events })),
    basis: [],
    blobs,
    droppedBlobs: dropped,
    ...(epoch !== undefined && { nextEpoch: epoch }),
    from: { revision, id, first, seal },
  };
}

const movedAway = (): NusecError =>
  new NusecError(
    'STATE',
    'the log was moved out of KurrentDB into the data folder of one machine: run a server there, or move the log back',
  );

const otherLog = (what: string): NusecError =>
  new NusecError('STORE_DAMAGED', `${what}: put the newer database back, or let two administrators accept this one (docs/kurrentdb.md)`);

/** The copy is of this log, and the log has everything that is here.
 *  @returns the newest commit that is here @throws NusecError STORE_DAMAGED */
export async function requireSameLog(storage: Pick<Storage, 'taken'>, log: CommitLog): Promise<LoggedCommit | undefined> {
  const { revision, id } = storage.taken();
  if (revision === -1) return undefined;
  const newest = await log.at(revision);
  if (newest === undefined)
    throw otherLog(`the log in KurrentDB has commits up to ${await log.head()}, but ${revision} was acknowledged here`);
  if (newest.id !== id) throw otherLog(`commit ${revision} of the log in KurrentDB is not the one that was acknowledged here`);
  return newest;
}
