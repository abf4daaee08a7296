import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CrlList } from '../../domain/crlList.ts';
import { NusecError } from '../../errors.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { type CertificateRow, certificateQueries, changesRevocation } from '../../projections/certificates.ts';
import { type Context, isFarBehind, whileStarting } from '../base/context.ts';
import { followAhead } from './revocationsAhead.ts';

/** What is revoked: a map in memory, filled from the certificate inventory and updated by the events.
 *  TLS and MQTT ask it at every handshake; listeners drop live connections (T23). While the inventory is rebuilt, which takes minutes in a large
 *  project, nothing is known: then no machine is let in, and the server runs without them. While it is only held up, what the log has is in force
 *  all the same (revocationsAhead.ts). */

export type RevocationChange = {
  readonly serialHex: string;
  readonly kind: string;
  readonly subject: string;
  /** Which list it is on. Absent when the inventory does not have the change yet; then the listener is called again when it has. */
  readonly list?: CrlList;
  readonly revoked: boolean;
  /** Of the event behind it. */
  readonly position: number;
};

export type Revocations = {
  /** @throws NusecError PROJECTION_BEHIND while it is not known */
  isRevoked(serialHex: string): boolean;
  /** How many certificates are revoked or on hold. @throws NusecError PROJECTION_BEHIND while it is not known */
  count(): number;
  /** Whether what was revoked before the start is known. */
  isKnown(): boolean;
  /** Resolves when it is. */
  readonly known: Promise<void>;
  /** Called for every change after the start. @returns what ends that */
  onChange(listener: (change: RevocationChange) => void): () => void;
  /** Resolves with true when everything up to this position is known here; with false when this process does not get on. What was recorded is
   *  recorded all the same, and in force here; it comes into the lists later, and until then the process is not ready. */
  caughtUp(position: number): Promise<boolean>;
  close(): Promise<void>;
};

/** Taken in between two turns of others. */
const rowsAtOnce = 100;

/** Knows what is revoked when it returns, unless the inventory has a long way to go. */
export async function startRevocations(ctx: Context): Promise<Revocations> {
  const queries = certificateQueries(ctx.reads.db);
  const revoked = new Set<string>();
  /** What the inventory does not show yet: by serial number, the position of the event behind it. */
  const ahead = new Map<string, number>();
  const listeners = new Set<(change: RevocationChange) => void>();
  const start = await ctx.store.head();
  let known: { readonly position: number; readonly serial?: string } = { position: start };
  let shownUpTo = start;
  const more = () => queries.changedSince(known.position, rowsAtOnce, known.serial);
  const take = (row: CertificateRow): void => {
    const isRevoked = row.reason !== null;
    // What was revoked while the inventory was built is known from its first reading, and not yet published.
    if (isRevoked === revoked.has(row.serial) && follower.hasBegun) return;
    if (isRevoked) revoked.add(row.serial);
    else revoked.delete(row.serial);
    const { serial: serialHex, kind, subject, ica_id: icaId, crl_partition: crlPartition, position } = row;
    tell({ serialHex, kind, subject, list: { icaId, crlPartition }, revoked: isRevoked, position });
  };
  const tell = (change: RevocationChange): void => {
    for (const listener of listeners) listener(change);
  };
  /** Everything up to there is taken over from the inventory. */
  const showUpTo = (position: number): void => {
    shownUpTo = position;
    for (const [serial, at] of ahead) if (at <= position) ahead.delete(serial);
  };
  const takeAll = async (): Promise<void> => {
    for (;;) {
      const rows = await more();
      for (const row of rows) take(row);
      const last = rows.at(-1);
      if (last !== undefined) known = { position: last.position, serial: last.serial };
      if (rows.length < rowsAtOnce) return;
      await nextTurn();
    }
  };
  const begin = async (): Promise<void> => {
    await ctx.reads.waitFor(start, { projections: ['certificates'], patient: true });
    for (const row of await queries.revoked()) revoked.add(row.serial);
    await takeAll();
  };
  const handle = async (events: readonly Recorded[]): Promise<void> => {
    const last = events.at(-1)?.position ?? known.position;
    if (events.some(event => changesRevocation(event.type))) {
      await ctx.reads.waitFor(last, { projections: ['certificates'] });
      await takeAll();
    }
    showUpTo(last);
  };
  const follower = ctx.followers.follow('revocations', start, handle, { begin });
  const aheadFollower = followAhead(ctx, {
    start,
    begun: follower.begun,
    isShown: position => position <= shownUpTo,
    revoke({ serial, kind, subject }, position) {
      ahead.set(serial, position);
      tell({ serialHex: serial, kind, subject, revoked: true, position });
    },
  });
  const requireKnown = (): ReadonlySet<string> => {
    if (follower.hasBegun) return revoked;
    throw new NusecError('PROJECTION_BEHIND', 'what is revoked is not known yet: the certificate inventory is being built');
  };
  await whileStarting(follower.begun, isFarBehind(ctx, 'certificates'));
  return {
    isRevoked: serialHex => requireKnown().has(serialHex) || ahead.has(serialHex),
    count: () => requireKnown().size,
    isKnown: () => follower.hasBegun,
    known: follower.begun,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    caughtUp: position =>
      follower.caughtUp(position).then(
        () => true,
        () => false,
      ),
    async close() {
      await Promise.all([aheadFollower.close(), follower.close()]);
    },
  };
}
