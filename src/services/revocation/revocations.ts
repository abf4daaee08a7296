import { type CertificateRow, certificateQueries, changesRevocation } from '../../projections/certificates.ts';
import { startStallMs } from '../../projections/runner.ts';
import type { Context } from '../base/context.ts';

/** What is revoked, known at once: a map in memory, filled from the certificate inventory and kept up by the events.
 *  TLS and MQTT ask it at every handshake; listeners drop live connections (T23). */

export type RevocationChange = {
  readonly serialHex: string;
  readonly kind: string;
  readonly subject: string;
  readonly icaId: string;
  readonly revoked: boolean;
  /** Of the event behind it. */
  readonly position: number;
};

export type Revocations = {
  isRevoked(serialHex: string): boolean;
  /** How many certificates are revoked or on hold. */
  count(): number;
  /** Called for every change after the start. @returns what ends that */
  onChange(listener: (change: RevocationChange) => void): () => void;
  /** Resolves with true when everything up to this position is known here; with false when this process does not get on. What was recorded is
   *  recorded all the same: it comes into force here later, and until then the process is not ready. */
  caughtUp(position: number): Promise<boolean>;
  close(): Promise<void>;
};

const maxChangedRows = 1000;

export async function startRevocations(ctx: Context): Promise<Revocations> {
  const queries = certificateQueries(ctx.reads.db);
  const revoked = new Set<string>();
  const listeners = new Set<(change: RevocationChange) => void>();
  const start = ctx.store.head();
  await ctx.reads.waitFor(start, { projections: ['certificates'], stallMs: startStallMs });
  for (const row of await queries.revoked()) revoked.add(row.serial);
  let known: { readonly position: number; readonly serial?: string } = { position: start };
  const more = () => queries.changedSince(known.position, maxChangedRows, known.serial);
  const take = (row: CertificateRow): void => {
    const isRevoked = row.reason !== null;
    if (isRevoked === revoked.has(row.serial)) return;
    if (isRevoked) revoked.add(row.serial);
    else revoked.delete(row.serial);
    const { serial: serialHex, kind, subject, ica_id: icaId, position } = row;
    for (const listener of listeners) listener({ serialHex, kind, subject, icaId, revoked: isRevoked, position });
  };
  const refresh = async (position: number): Promise<void> => {
    await ctx.reads.waitFor(position, { projections: ['certificates'] });
    for (let rows = await more(); rows.length > 0; rows = await more()) {
      for (const row of rows) take(row);
      const last = rows.at(-1);
      if (last !== undefined) known = { position: last.position, serial: last.serial };
    }
  };
  const follower = ctx.followers.follow('revocations', start, async events => {
    if (events.some(event => changesRevocation(event.type))) await refresh(events.at(-1)?.position ?? known.position);
  });
  return {
    isRevoked: serialHex => revoked.has(serialHex),
    count: () => revoked.size,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    caughtUp: position =>
      follower.caughtUp(position).then(
        () => true,
        () => false,
      ),
    close: () => follower.close(),
  };
}
