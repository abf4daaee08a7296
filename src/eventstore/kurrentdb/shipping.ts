import { randomUUID } from 'node:crypto';
import { NusecError } from '../../errors.ts';
import type { CommitQueue } from '../commitQueue.ts';
import { maxQueuedWeight, weightOf } from '../commitQueue.ts';
import type { AppendResult } from '../port.ts';
import type { Sealer } from '../seal.ts';
import type { Storage } from '../storage.ts';
import { storeError } from '../storeError.ts';
import type { CommitRequest, Outcome, Writer } from '../writer.ts';
import type { CommitLog } from './commitLog.ts';
import type { Copy } from './copy.ts';
import { type Plan, planCommit } from './plan.ts';

/** Stores what this process wants to store: decides on a group against the copy, and has the log add the commit only behind the newest one that
 *  the copy has. Somebody else was faster: takes in what is new and decides again. What comes meanwhile makes the next group; there is no timer. */

/** Events, and KiB of blobs, of one commit. */
const maxGroupWeight = 1024;
/** UTF-8 of the events of one commit, about; the log takes an append of 1 MiB. A request alone may be larger (see streams.ts). */
const maxGroupChars = 512 * 1024;
/** How long a group is decided again and again while others are faster. */
const maxContestedMs = 10_000;
/** Blobs that are stored in parallel. */
const blobsAtOnce = 8;

type Waiting = CommitRequest & {
  readonly weight: number;
  readonly chars: number;
  resolve(results: readonly AppendResult[]): void;
  reject(error: unknown): void;
};

type Local = {
  readonly storage: Pick<Storage, 'epoch'>;
  readonly writer: Writer;
  readonly sealer: Sealer | undefined;
};

export function createShipping({ storage, writer, sealer }: Local, log: CommitLog, copy: Copy): CommitQueue {
  let waiting: Waiting[] = [];
  let queuedWeight = 0;
  let running = false;
  let becameIdle = Promise.withResolvers<void>();

  const plan = (group: readonly Waiting[]): Plan & { readonly behind: number } => {
    // First the number, then its content: a plan on more than that is refused by the log, one on less would not be.
    const behind = copy.revision();
    writer.catchUp();
    return { behind, ...planCommit(writer, storage.epoch(), sealer, group) };
  };
  /** @returns what became of each request, when the log has said so */
  const settled = async (group: readonly Waiting[]): Promise<readonly Outcome[]> => {
    const sinceMs = performance.now();
    const put = new Set<string>();
    while (performance.now() - sinceMs < maxContestedMs) {
      if (copy.isClosed()) await copy.current();
      const { behind, outcomes, commit } = plan(group);
      const accepted = group.filter((_, i) => !(outcomes[i] instanceof Error));
      await putBlobs(accepted, put);
      if (commit === undefined) {
        // Refusals and repetitions count when nobody has stored anything that is not here.
        await copy.current();
        if (copy.revision() === behind) return outcomes;
        continue;
      }
      const id = randomUUID();
      if (await log.append(behind, id, commit)) {
        copy.confirmed();
        const blobs = accepted.flatMap(request => request.blobs ?? []);
        await copy.take([{ revision: behind + 1, id, commit }], blobs).catch(notHere);
        return outcomes;
      }
      await copy.past(behind);
    }
    throw new NusecError('STORE_UNAVAILABLE', 'other servers store so much that this one does not get its turn; nothing was stored');
  };
  /** Before the commit that counts, so that it never names what is not there. A commit that is refused after all leaves blobs that nothing names.
   *  @param put those that are there already */
  const putBlobs = async (group: readonly Waiting[], put: Set<string>): Promise<void> => {
    const blobs = group.flatMap(request => request.blobs ?? []).filter(({ sha256 }) => !put.has(sha256));
    for (const { sha256 } of blobs) put.add(sha256);
    for (let done = 0; done < blobs.length; done += blobsAtOnce) await Promise.all(blobs.slice(done, done + blobsAtOnce).map(log.putBlob));
  };
  const dropBlobs = async (group: readonly Waiting[], outcomes: readonly Outcome[]): Promise<void> => {
    const stored = group.filter((_, i) => !(outcomes[i] instanceof Error));
    for (const sha256 of stored.flatMap(({ droppedBlobs }) => droppedBlobs ?? [])) await log.dropBlob(sha256);
  };
  const ship = async (group: readonly Waiting[]): Promise<void> => {
    try {
      const outcomes = await settled(group);
      await dropBlobs(group, outcomes);
      outcomes.forEach((outcome, i) => {
        const { resolve, reject } = group[i] as Waiting;
        if (outcome instanceof Error) reject(outcome);
        else resolve(outcome);
      });
    } catch (error) {
      for (const { reject } of group) reject(storeError(error, 'the events could not be stored'));
    }
  };
  const run = async (): Promise<void> => {
    running = true;
    while (waiting.length > 0) {
      const group = waiting.slice(0, groupLength(waiting));
      waiting = waiting.slice(group.length);
      await ship(group);
      for (const { weight } of group) queuedWeight -= weight;
    }
    running = false;
    becameIdle.resolve();
    becameIdle = Promise.withResolvers();
  };

  return {
    advance() {},
    add: request =>
      new Promise((resolve, reject) => {
        const weight = weightOf(request);
        if (queuedWeight + weight > maxQueuedWeight) throw new NusecError('RATE_LIMITED', 'the event store is behind');
        queuedWeight += weight;
        waiting.push({ ...request, weight, chars: charsOf(request), resolve, reject });
        if (!running) {
          running = true;
          setImmediate(() => void run());
        }
      }),
    async close() {
      if (running) await becameIdle.promise;
    },
  };
}

/** The same request again gets its result when the copy can take in what is stored. */
function notHere(cause: unknown): never {
  if (cause instanceof NusecError && cause.code === 'STORE_DAMAGED') throw cause;
  const why = cause instanceof Error ? cause.message : 'unknown';
  throw new NusecError('STORE_UNAVAILABLE', `the events are in the log, but the copy on this machine cannot take them in (${why})`, {
    cause,
  });
}

const charsOf = ({ appends }: CommitRequest): number =>
  appends.reduce((sum, { stream, events }) => sum + events.reduce((own, { body }) => own + body.length + stream.length + 100, 0), 0);

/** How many of those that wait come next: at least one. */
function groupLength(waiting: readonly Waiting[]): number {
  let [length, weight, chars] = [0, 0, 0];
  for (const each of waiting) {
    weight += each.weight;
    chars += each.chars;
    if (length > 0 && (weight > maxGroupWeight || chars > maxGroupChars)) break;
    length += 1;
  }
  return length;
}
