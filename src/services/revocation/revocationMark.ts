import { setImmediate as nextTurn, setTimeout } from 'node:timers/promises';
import { partitionFact } from '../../domain/crlList.ts';
import type { EventType } from '../../domain/events.ts';
import { line, lineStream } from '../../domain/line.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { subjects, subjectsStream } from '../../domain/subjects.ts';
import { NusecError } from '../../errors.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { type CertificateRow, certificateQueries, changesRevocation } from '../../projections/certificates.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { authorityOf } from '../authority/authority.ts';
import { type Context, isFarBehind, nowIso, stateOf, whileStarting } from '../base/context.ts';
import { beginMark, type KnownMark, type MarkEntry, type MarkFacts, type OldMark, readMark } from './markFile.ts';
import type { Revocations } from './revocations.ts';

/** The high-water mark of revocations (T34): what this machine has known of the store, kept where a backup of the data folder does not reach.
 *  A store that lacks any of it is an old backup, in which revoked certificates would be valid again: it is refused. */

/** Revocations that come together share one note. */
const gatherMs = 100;
/** Taken in between two turns of others. */
const rowsAtOnce = 100;

/** Holds the store against the mark: its whole history up to the mark, and every single revocation.
 *  @returns whether there is a mark
 *  @throws NusecError STORE_OLDER (events that were known are missing or are others), STORE_DAMAGED (the mark is not one of this project, or a
 *  read model lacks a revocation that the store has) */
export async function checkRevocationMark(ctx: Context, revocations: Revocations, file: string): Promise<boolean> {
  const known = await readMark(ctx, file);
  if (known === undefined) return false;
  const lack = await lackOf(ctx, known);
  if (lack !== undefined) throw new NusecError('STORE_OLDER', `${lack} (${file}): ${remedy}`);
  // Read models that are rebuilt are built from the events, which are those of the mark.
  if (known.old === undefined && revocations.isKnown()) await requireAllRevoked(ctx, revocations, known);
  return true;
}

const remedy =
  'put the newer store back, or let two administrators accept this one: nusec restore --data DIR --token-file FILE --second-token-file FILE';

/** What the store lacks of what the mark says; undefined when nothing. */
export async function lackOf(ctx: Context, known: KnownMark): Promise<string | undefined> {
  if (known.old !== undefined) return (await hasEvent(ctx, known.old)) ? undefined : olderText(known.old.position, known.old.at);
  const { size, root, at, revoked } = known.facts;
  const head = await ctx.store.head();
  if (head < size)
    return `the event store has ${head} events, but had ${size} by ${at}, with ${revoked} certificates revoked: it is an old backup`;
  if ((await ctx.store.tree.root(size)) === root) return undefined;
  return `the first ${size} events are not those that were there by ${at}: it is an old backup that has grown since, or was changed`;
}

const olderText = (position: number, at: string): string =>
  `the event store does not have the revocation that was recorded at position ${position} by ${at}: it is an old backup`;

async function hasEvent(ctx: Context, { position, hash }: OldMark): Promise<boolean> {
  if (position === 0) return true;
  const [event] = await ctx.store.readAll(position - 1, 1);
  return event?.position === position && event.hash === hash;
}

/** The events are those of the mark; so a certificate that is valid again was resumed after it, or a read model was tampered with. */
async function requireAllRevoked(
  ctx: Context,
  revocations: Revocations,
  { facts, revoked }: Extract<KnownMark, { readonly old?: undefined }>,
): Promise<void> {
  const queries = certificateQueries(ctx.reads.db);
  for (const serial of revoked.keys()) {
    if (revocations.isRevoked(serial)) continue;
    const row = await queries.bySerial(serial);
    if ((row?.position ?? 0) <= facts.size)
      throw new NusecError(
        'STORE_DAMAGED',
        `a read model does not show that ${serial} is revoked: delete DATA/views*.db, they are built again`,
      );
  }
}

/** Keeps a mark that was checked up from here on; one process does it. It begins when it is known what is revoked. */
export async function keepRevocationMark(ctx: Context, file: string): Promise<{ close(): Promise<void> }> {
  const queries = certificateQueries(ctx.reads.db);
  const writer = await beginMark(ctx, file);
  const listed = new Set<string>();
  /** Until they are written: a write that failed is made up for by the next. */
  let unsaved: MarkEntry[] = [];
  const start = await ctx.store.head();
  let known: { readonly position: number; readonly serial?: string } = { position: start };
  const take = (rows: readonly CertificateRow[]): void => {
    for (const row of rows) {
      if (row.reason === null && !listed.delete(row.serial)) continue;
      if (row.reason !== null) listed.add(row.serial);
      unsaved.push(entryOf(row));
    }
  };
  const more = () => queries.changedSince(known.position, rowsAtOnce, known.serial);
  const takeChanges = async (): Promise<void> => {
    for (;;) {
      const rows = await more();
      take(rows);
      const last = rows.at(-1);
      if (last !== undefined) known = { position: last.position, serial: last.serial };
      if (rows.length < rowsAtOnce) return;
      await nextTurn();
    }
  };
  /** Events up to which the mark speaks of everything. */
  let written = 0;
  const write = async (): Promise<void> => {
    const facts = await factsOf(ctx, await ctx.store.head());
    await takeChanges();
    await writer.write(unsaved, { ...facts, revoked: listed.size });
    unsaved = [];
    written = facts.size;
  };
  const begin = async (): Promise<void> => {
    await ctx.reads.waitFor(start, { projections: ['certificates', 'releases'], patient: true });
    take(await queries.revoked());
    await write();
  };
  const handle = async (events: readonly Recorded[]): Promise<void> => {
    if (!events.some(event => event.position > written && isMarked(event))) return;
    await setTimeout(gatherMs);
    await write();
  };
  const follower = ctx.followers.follow('revocation mark', start, handle, { begin });
  const areFar = ['certificates', 'releases'].map(name => isFarBehind(ctx, name));
  await whileStarting(follower.begun, () => areFar.some(isFar => isFar()));
  return {
    async close() {
      // What a follower cannot reach, the next one makes up for.
      await follower.caughtUp(ctx.store.seen()).catch(() => undefined);
      await follower.close();
      await writer.close();
    },
  };
}

const marked: ReadonlySet<string> = new Set([
  'OperatorAdded',
  'OperatorTokenRotated',
  'OperatorRolesSet',
  'OperatorRemoved',
  'OperatorTokenAdded',
  'OperatorCredentialEnded',
  'OperatorIdentityBound',
  'RollbackFloorRaised',
  'PackageKeyCompromised',
  'RootCaRetired',
  'SubjectErased',
] satisfies EventType[]);
const isMarked = ({ type }: Recorded): boolean => changesRevocation(type) || marked.has(type);

/** Of the first `size` events; waits until the read models show them. */
async function factsOf(ctx: Context, size: number): Promise<Omit<MarkFacts, 'revoked'>> {
  await ctx.reads.waitFor(size, { projections: ['certificates', 'releases'] });
  const { byName, formerNames } = await stateOf(ctx, operators, operatorsStream);
  const { byId } = await stateOf(ctx, subjects, subjectsStream);
  const erased = [...byId].filter(([, { status }]) => status === 'ERASED').map(([id]) => id);
  const { packageKeys, roots } = await authorityOf(ctx);
  const lines = await releaseQueries(ctx.reads.db).lines();
  const floors = await Promise.all(lines.map(async name => [name, await floorOf(ctx, name)] as const));
  return {
    size,
    root: await ctx.store.tree.root(size),
    people: [...byName.values()].map(({ roles, scope, credentials = [], ...person }) => ({
      ...person,
      credentials: credentials.map(({ id }) => id),
      roles: [...roles],
      ...(scope !== undefined && { scope: { ...scope } }),
    })),
    gone: [...formerNames],
    ...(erased.length > 0 && { erased }),
    compromisedKeys: packageKeys.filter(({ compromised }) => compromised).map(({ publicKey }) => publicKey),
    retiredRoots: roots.filter(({ retired }) => retired).map(({ sha256 }) => sha256),
    floors: Object.fromEntries(floors),
    at: nowIso(ctx),
  };
}

async function floorOf(ctx: Context, name: string): Promise<number> {
  const state = await stateOf(ctx, line, lineStream(name));
  return state.status === 'NONE' ? 0 : state.rollbackFloor;
}

const entryOf = ({
  serial,
  kind,
  subject,
  ica_id,
  sha256,
  issued_at,
  not_after,
  reason,
  revoked_at,
  crl_partition,
}: CertificateRow): MarkEntry => ({
  serial,
  kind,
  subject,
  icaId: ica_id,
  sha256,
  issuedAt: issued_at,
  notAfter: not_after,
  reason,
  revokedAt: revoked_at,
  ...partitionFact(crl_partition),
});
