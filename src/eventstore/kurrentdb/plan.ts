import { NusecError } from '../../errors.ts';
import { leafOfHash } from '../../merkle/hashing.ts';
import { chainHash } from '../hashchain.ts';
import { type AppendRequest, judge, type Stored } from '../judge.ts';
import type { AppendResult, StreamHead } from '../port.ts';
import type { Sealer } from '../seal.ts';
import type { StoredId } from '../storage.ts';
import type { CommitRequest, Outcome, Writer } from '../writer.ts';
import type { Carrier } from './carrier.ts';

/** Decides on a group of requests against a copy of the log, without changing the copy: what becomes of each, and the commit that says so. It
 *  counts only if that commit is stored behind the one that the copy has. */

export type Plan = {
  readonly outcomes: readonly Outcome[];
  /** Undefined when there is nothing to store: all is refused or was stored before. */
  readonly commit: Carrier | undefined;
};

export function planCommit(
  writer: Pick<Writer, 'headOf' | 'find' | 'doubtNew' | 'progress' | 'edge'>,
  epochNow: number,
  sealer: Sealer | undefined,
  group: readonly CommitRequest[],
): Plan {
  const { edge } = writer;
  const first = writer.progress().position;
  const mark = edge.mark();
  const heads = new Map<string, StreamHead>();
  const planned = new Map<string, StoredId>();
  const appends: AppendRequest[] = [];
  const blobs = new Set<string>();
  const dropped = new Set<string>();
  let epoch = epochNow;
  let next = first;
  let beginsEpoch = false;

  const headOf = (stream: string): StreamHead => heads.get(stream) ?? writer.headOf(stream);
  const stored: Stored = {
    revisionOf: stream => headOf(stream).revision,
    find: id => planned.get(id) ?? writer.find(id),
    doubtNew: writer.doubtNew,
  };
  const add = (request: AppendRequest): AppendResult => {
    const { stream } = request;
    let head = headOf(stream);
    for (const { id, body } of request.events) {
      const revision = head.revision + 1;
      const hash = chainHash(head.hash, stream, revision, id, body);
      next += 1;
      head = { revision, position: next, hash };
      planned.set(id, { position: next, stream, revision, body });
      edge.add(leafOfHash(hash));
    }
    heads.set(stream, head);
    appends.push(request);
    return { revision: head.revision, position: head.position };
  };
  const decide = (request: CommitRequest): Outcome => {
    if (request.epoch !== undefined && request.epoch !== epoch) return new NusecError('LEADERSHIP_OVER', 'another process leads now');
    const verdicts = judge(stored, request.appends, request.basis);
    if (verdicts instanceof NusecError) return verdicts;
    beginsEpoch ||= request.nextEpoch !== undefined;
    epoch = request.nextEpoch ?? epoch;
    for (const { sha256 } of request.blobs ?? []) blobs.add(sha256);
    for (const sha256 of request.droppedBlobs ?? []) dropped.add(sha256);
    return verdicts.map((verdict, i) => verdict ?? add(request.appends[i] as AppendRequest));
  };

  const outcomes = group.map(decide);
  const seal = sealer?.seal(edge);
  edge.restore(mark);
  if (appends.length + blobs.size + dropped.size === 0 && !beginsEpoch) return { outcomes, commit: undefined };
  return { outcomes, commit: { first, appends, blobs: [...blobs], dropped: [...dropped], epoch: beginsEpoch ? epoch : undefined, seal } };
}
