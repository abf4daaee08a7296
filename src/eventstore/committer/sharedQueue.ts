import { rmSync } from 'node:fs';
import { NusecError } from '../../errors.ts';
import { type CommitQueue, type LocalQueue, maxQueuedWeight, sizeOf, weightOf } from '../commitQueue.ts';
import type { AppendResult } from '../port.ts';
import type { Committer, Storage } from '../storage.ts';
import type { CommitRequest } from '../writer.ts';
import { type Answer, type AskedCommit, askedCommit, outcomeIn } from './messages.ts';
import { connectRelay, type Relay } from './relay.ts';
import { type Served, serve, socketPath } from './serve.ts';
import { TurnOver } from './turnOver.ts';

/** One process commits for all that have the store open: its groups are larger and wait for the disk once. Who that is, is a row of the store: a turn and
 *  the address of a socket. A process that has something to store and finds nobody there begins the next turn, in the same order as all commits, and
 *  what was asked under an earlier turn is refused inside the transaction. So a committer that was stopped or killed costs nothing but time: what it has
 *  not answered is asked again, with the same ids, and is stored once.
 *
 *  The write lock of the file stays what makes commits safe. Each process can commit by itself, and does where there can be no socket. */

/** Events, and KiB of blobs, that are with the committer; the rest waits here. */
const maxAskedWeight = 4096;
/** Their size, unless it is one commit: far from what a link takes in a frame, and lets wait (link.ts). */
const maxAskedSize = 8 * 1024 * 1024;

type Waiting = {
  readonly request: CommitRequest;
  readonly weight: number;
  readonly size: number;
  resolve(results: readonly AppendResult[]): void;
  reject(error: unknown): void;
};

export type SharedQueueParts = {
  readonly file: string;
  readonly storage: Pick<Storage, 'committer'>;
  /** What this process commits by itself. */
  readonly local: LocalQueue;
  /** Of the store, if it is sealed. */
  readonly sealKey: Uint8Array | undefined;
  /** Everything up to there is on the disk, by another process. */
  readonly onStored: (position: number) => void;
};

/** `undecided`: the next request decides · `alone`: commits by itself, for nobody else */
type Role =
  | { readonly is: 'undecided' | 'deciding' | 'alone' }
  | { readonly is: 'committer'; readonly turn: number; readonly served: Served }
  | { readonly is: 'relay'; readonly relay: Relay };

export function createSharedQueue({ file, storage, local, sealKey, onStored }: SharedQueueParts): CommitQueue {
  let role: Role = { is: 'undecided' };
  /** A committer that was given up, and is asked no more. */
  let endedTurn = -1;
  let pending: Waiting[] = [];
  const asked = new Map<number, Waiting>();
  let askedWeight = 0;
  let askedSize = 0;
  let queuedWeight = 0;
  let lastNumber = 0;
  let scheduled = false;
  let becameIdle = Promise.withResolvers<void>();

  /** @param turn what this process does as the committer ends with its turn */
  const commitHere = (waiting: Waiting, turn?: number): void => {
    local.put(turn === undefined ? waiting.request : { ...waiting.request, turn }, waiting.weight, outcome => {
      if (!(outcome instanceof TurnOver)) return settle(waiting, outcome);
      leaveCommitting(turn);
      pending.push(waiting);
      advance();
    });
  };
  const settle = (waiting: Waiting, outcome: readonly AppendResult[] | Error): void => {
    queuedWeight -= waiting.weight;
    if (outcome instanceof Error) waiting.reject(outcome);
    else waiting.resolve(outcome);
    if (queuedWeight > 0) return;
    becameIdle.resolve();
    becameIdle = Promise.withResolvers();
  };
  const leaveCommitting = (turn: number | undefined): void => {
    if (role.is !== 'committer' || role.turn !== turn) return;
    void role.served.close();
    role = { is: 'undecided' };
  };

  const takeAnswers = (relay: Relay | undefined, answers: readonly Answer[]): void => {
    let stored = 0;
    let isOver = false;
    for (const answer of answers) {
      const { number, outcome } = outcomeIn(answer);
      const isTurnOver = outcome instanceof TurnOver;
      isOver ||= isTurnOver;
      const waiting = asked.get(number);
      if (waiting === undefined || isTurnOver) continue;
      asked.delete(number);
      askedWeight -= waiting.weight;
      askedSize -= waiting.size;
      if (!(outcome instanceof Error)) stored = Math.max(stored, outcome.at(-1)?.position ?? 0);
      settle(waiting, outcome);
    }
    if (stored > 0) onStored(stored);
    if (isOver) return void leaveRelay(relay);
    if (asked.size === 0) relay?.expects(false);
    if (pending.length > 0) advance();
  };
  /** Whatever is not answered is asked again, in its order. */
  const leaveRelay = (relay: Relay | undefined): void => {
    if (role.is !== 'relay' || role.relay !== relay) return;
    role = { is: 'undecided' };
    relay.close();
    pending = [...asked.values(), ...pending];
    asked.clear();
    askedWeight = 0;
    askedSize = 0;
    if (pending.length > 0) advance();
  };

  const decide = async (): Promise<void> => {
    role = { is: 'deciding' };
    const committer = storage.committer();
    const relay = committer.turn === endedTurn ? undefined : await connectTo(committer);
    role = relay === undefined ? await takeOver(committer) : { is: 'relay', relay };
    if (pending.length > 0) advance();
  };
  const connectTo = async ({ turn, address }: Committer): Promise<Relay | undefined> => {
    const onEnd = (): void => {
      endedTurn = turn;
      leaveRelay(relay);
    };
    const relay: Relay | undefined = await connectRelay(
      { file, sealKey, onAnswers: answers => takeAnswers(relay, answers), onEnd },
      address,
    );
    return relay;
  };
  /** What waits is stored behind the beginning of the turn, whether it is this process that begins it or not: then nothing of it is stored once more
   *  by the committer of an earlier turn. */
  const takeOver = async (seen: Committer): Promise<Role> => {
    const turn = seen.turn + 1;
    const served = await serve({ file, sealKey, local }, turn);
    if (served === undefined && seen.address === '') return { is: 'alone' };
    const began = local.add({ appends: [], basis: [], turn: seen.turn, nextCommitter: { turn, address: served?.address ?? '' } });
    role = { is: 'alone' };
    for (const waiting of pending.splice(0)) commitHere(waiting);
    try {
      await began;
      removeSocket(seen.address);
      return served === undefined ? { is: 'alone' } : { is: 'committer', turn, served };
    } catch {
      // Somebody else was faster, or the store cannot be written: then what waits is told so.
      void served?.close();
      return { is: 'undecided' };
    }
  };

  /** Of a process that was killed. */
  const removeSocket = (address: string): void => {
    const path = socketPath(file, address);
    if (path !== undefined) rmSync(path, { force: true });
  };

  const advance = (): void => {
    if (scheduled || role.is === 'deciding') return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      hand();
    });
  };
  const hand = (): void => {
    if (pending.length === 0) return;
    if (role.is === 'undecided') return void decide().catch(failPending);
    if (role.is === 'relay') return void ask(role.relay);
    for (const waiting of pending.splice(0)) commitHere(waiting, role.is === 'committer' ? role.turn : undefined);
  };
  const ask = (relay: Relay): void => {
    const commits: AskedCommit[] = [];
    for (let waiting = pending[0]; waiting !== undefined && hasRoom(waiting); waiting = pending[0]) {
      pending.shift();
      lastNumber += 1;
      asked.set(lastNumber, waiting);
      askedWeight += waiting.weight;
      askedSize += waiting.size;
      commits.push(askedCommit(lastNumber, waiting.request));
    }
    if (commits.length === 0) return;
    relay.expects(true);
    relay.ask(commits);
  };
  const hasRoom = ({ weight, size }: Waiting): boolean =>
    asked.size === 0 || (askedWeight + weight <= maxAskedWeight && askedSize + size <= maxAskedSize);
  /** The store cannot be read. */
  const failPending = (error: unknown): void => {
    role = { is: 'undecided' };
    for (const waiting of pending.splice(0)) settle(waiting, error as Error);
  };

  return {
    advance: local.advance,
    add: request =>
      new Promise((resolve, reject) => {
        const weight = weightOf(request);
        if (queuedWeight + weight > maxQueuedWeight) throw new NusecError('RATE_LIMITED', 'the event store is behind');
        queuedWeight += weight;
        const waiting = { request, weight, size: sizeOf(request), resolve, reject };
        if (role.is === 'alone') return commitHere(waiting);
        if (role.is === 'committer') return commitHere(waiting, role.turn);
        pending.push(waiting);
        advance();
      }),
    async close() {
      while (queuedWeight > 0) await becameIdle.promise;
      if (role.is === 'committer') await role.served.close();
      if (role.is === 'relay') role.relay.close();
      role = { is: 'undecided' };
      await local.close();
    },
  };
}
