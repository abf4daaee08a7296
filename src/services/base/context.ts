import { toHex } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import type { Decider } from '../../domain/decider.ts';
import type { DomainEvent } from '../../domain/events.ts';
import { NusecError } from '../../errors.ts';
import { type BlobStore, stagedBlobs } from '../../eventstore/blobs.ts';
import type { Followers } from '../../eventstore/followers.ts';
import {
  type CommandMeta,
  type Handled,
  handle,
  handleAllOn,
  handleOn,
  loadState,
  type Read,
  type StorableEvent,
} from '../../eventstore/handle.ts';
import { inOneCommit } from '../../eventstore/oneCommit.ts';
import type { EventStore } from '../../eventstore/port.ts';
import type { PassingStates } from '../../eventstore/stateCache.ts';
import type { BootKeys } from '../../keystore/bootKeys.ts';
import type { Keystore } from '../../keystore/port.ts';
import type { SigningCounts } from '../../keystore/signingCounts.ts';
import type { ReadModels } from '../../projections/readModels.ts';
import { maxAwaitedEvents } from '../../projections/runner.ts';
import { hourMs } from '../../times.ts';
import type { UidLists } from '../../uidlists/uidLists.ts';
import { within } from '../../within.ts';
import type { Conditions } from './conditions.ts';
import type { Subjects } from './subjectRegistry.ts';

/** What every service works with: the parts of the server and its sources of time, ids and randomness. */
export type Context = {
  /** With people readable, as far as they are not erased. */
  readonly store: EventStore;
  /** The same store as it is kept: what hashes and proofs are of. For what is shown to those who check them. */
  readonly storedLog: EventStore;
  readonly subjects: Subjects;
  /** Handlers of the events as they come; a stopped one is shown in the health of the process. */
  readonly followers: Followers;
  readonly conditions: Conditions;
  readonly blobs: BlobStore;
  readonly uidLists: UidLists;
  readonly keystore: Keystore;
  /** Signatures of this process, by the kind of key. */
  readonly signatures: SigningCounts;
  readonly reads: ReadModels;
  /** Per-device boot keys: wrapped under `kek/boot`, kept in the custody store. */
  readonly bootKeys: BootKeys;
  readonly clock: () => Date;
  readonly newId: () => string;
  readonly randomBytes: (bytes: number) => Uint8Array;
  readonly log: Log;
  readonly project: string;
  /** `http://host:port` where CRLs are fetched; goes into certificates. */
  readonly crlBaseUrl: string;
  /** How far before now certificates, lists and OCSP answers begin to count, for those whose clock is behind; an hour when not set. */
  readonly backdateMs?: number;
  /** How many devices, gateways and programmers one person revokes, quarantines … alone within a day; 10 when not set. */
  readonly effectsPerDay?: number;
  /** `https://host:port` of the API; goes into production packages. */
  readonly apiBaseUrl: string;
  /** Set where the leading process works: what is appended after another one has begun to lead is refused (LEADERSHIP_OVER). */
  readonly epoch?: number;
};

export type Log = {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

/** Decides a command and appends its events, as `by`, now.
 *  @throws NusecError of the decider; REVISION_CONFLICT after too many retries */
export function execute<Command, State, Event extends DomainEvent>(
  ctx: Context,
  decider: Decider<Command, State, Event>,
  stream: string,
  command: Command,
  by: Actor,
): Promise<Handled<State, Event>> {
  return handle(ctx.store, decider, stream, command, metaOf(ctx, by));
}

/** Decides a command that depends on other streams. What `commandOf` reads is still so when the decision is stored; otherwise it is asked again.
 *  @throws as execute, and what `commandOf` throws */
export function executeOn<Command, State, Event extends DomainEvent>(
  ctx: Context,
  decider: Decider<Command, State, Event>,
  stream: string,
  commandOf: (read: Read) => Promise<Command>,
  by: Actor,
): Promise<Handled<State, Event>> {
  return handleOn(ctx.store, decider, stream, commandOf, metaOf(ctx, by));
}

/** Does work whose events and small blobs are stored together, with one wait for the disk, before this resolves. The work may be done again when
 *  somebody else was faster. @param work gets `forget` too, after which nothing of what was decided before is stored @param passing states that this work alone needs
 *  @throws what `work` throws, after storing what it had decided before */
export const oneCommit = <Result>(
  ctx: Context,
  work: (ctx: Context, forget: () => void) => Promise<Result>,
  passing?: PassingStates,
): Promise<Result> =>
  inOneCommit(ctx.store, staged => work({ ...ctx, store: staged.store, blobs: stagedBlobs(ctx.blobs, staged) }, staged.forget), passing);

/** The present state of an aggregate. */
export async function stateOf<Command, State, Event extends StorableEvent>(
  ctx: Context,
  decider: Decider<Command, State, Event>,
  stream: string,
): Promise<State> {
  return (await loadState(ctx.store, decider, stream)).state;
}

/** What a decision depends on besides its own stream. @throws NusecError when it is not so */
export type Condition = (read: Read) => Promise<void>;

/** Decides a command while a condition holds. @throws as execute, and what the condition throws */
export function executeIf<Command, State, Event extends DomainEvent>(
  ctx: Context,
  condition: Condition,
  decider: Decider<Command, State, Event>,
  stream: string,
  command: Command,
  by: Actor,
): Promise<Handled<State, Event>> {
  return executeAllIf(ctx, condition, decider, stream, [command], by);
}

/** Several commands as one decision while a condition holds; one that is refused refuses them all. @throws as executeIf */
export function executeAllIf<Command, State, Event extends DomainEvent>(
  ctx: Context,
  condition: Condition,
  decider: Decider<Command, State, Event>,
  stream: string,
  commands: readonly Command[],
  by: Actor,
): Promise<Handled<State, Event>> {
  const commandsOf = async (read: Read): Promise<readonly Command[]> => {
    await condition(read);
    return commands;
  };
  return handleAllOn(ctx.store, decider, stream, commandsOf, metaOf(ctx, by));
}

/** The condition of what depends on nothing else. */
export const always: Condition = async () => undefined;

/** One condition and another. */
export const both =
  (one: Condition, other: Condition): Condition =>
  async read => {
    await one(read);
    await other(read);
  };

/** Reads states as they are now, for what no decision is stored of: what other processes have stored is looked for once, by the first read. */
export function reader({ store }: Context): Read {
  let hasLooked = false;
  return async (decider, stream) => {
    const asKnown = hasLooked;
    hasLooked = true;
    return (await loadState(store, decider, stream, asKnown)).state;
  };
}

/** Waits until these read models show everything so far. @returns false when they do not get on: what they show is older than the log */
export async function areCurrent(ctx: Context, projections: readonly string[]): Promise<boolean> {
  try {
    await ctx.reads.waitFor(await ctx.store.head(), { projections });
    return true;
  } catch (error) {
    if (error instanceof NusecError && error.code === 'PROJECTION_BEHIND') return false;
    throw error;
  }
}

/** How long the start of a process waits for what read models it needs; what is not there then begins later. */
const startPatienceMs = 5000;
const startLookMs = 50;

/** Waits for something at the start of a process, but not for a read model that is rebuilt from a large log.
 *  @param isFar whether it cannot be there soon, see `isFarBehind` */
export async function whileStarting(begun: Promise<void>, isFar: () => boolean = () => false): Promise<void> {
  const endMs = performance.now() + startPatienceMs;
  const hasBegun = begun.then(() => true);
  while (performance.now() < endMs && !isFar()) if (await within(hasBegun, startLookMs)) return;
}

/** Whether a read model has stopped, or has a long way to go. @param projection its name */
export const isFarBehind =
  ({ reads }: Context, projection: string) =>
  (): boolean =>
    reads
      .health()
      .projections.some(
        ({ name, status, behindEvents }) => name === projection && (status === 'faulted' || behindEvents > maxAwaitedEvents),
      );

/** From when on what is signed now counts. */
export const backdatedIso = ({ clock, backdateMs = hourMs }: Context): string => new Date(clock().getTime() - backdateMs).toISOString();

export const nowIso = (ctx: Context): string => ctx.clock().toISOString();

/** A random registration id, 32 hex. */
export const newHexId = (ctx: Context): string => toHex(ctx.randomBytes(16));

/** What every decision of this process carries: who, when, ids, and the epoch that fences a former leader. */
function metaOf({ clock, newId, epoch }: Context, by: Actor): CommandMeta {
  return { by, now: clock().toISOString(), newId, ...(epoch !== undefined && { epoch }) };
}
