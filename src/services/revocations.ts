import { setTimeout as sleep } from 'node:timers/promises';
import { authority, authorityStream } from '../domain/authority.ts';
import type { Subscription } from '../eventstore/port.ts';
import { buildCrl, encodeCrlEntry } from '../pki/crl.ts';
import { isRevocationReason } from '../pki/revocationReasons.ts';
import { certificateQueries, changesRevocation } from '../projections/certificates.ts';
import { authorityOf, caById } from './authority.ts';
import { type Context, execute } from './context.ts';

/** What is revoked, known at once: a map in memory, filled from the certificate inventory and kept up by the events.
 *  TLS and MQTT ask it at every handshake; listeners drop live connections (T23). */

export type RevocationChange = { readonly serialHex: string; readonly kind: string; readonly subject: string; readonly revoked: boolean };

export type Revocations = {
  isRevoked(serialHex: string): boolean;
  /** Called for every change after the start. */
  onChange(listener: (change: RevocationChange) => void): void;
  /** Resolves when everything up to this position is known here. */
  caughtUp(position: number): Promise<void>;
  close(): Promise<void>;
};

/** How long a commanding request waits until its revocation is in force in this process. */
const maxCaughtUpMs = 5000;
const pollMs = 2;
const maxChangedRows = 1000;

export async function startRevocations(ctx: Context): Promise<Revocations> {
  const queries = certificateQueries(ctx.reads.db);
  const revoked = new Set<string>();
  const listeners: ((change: RevocationChange) => void)[] = [];
  const start = ctx.store.head();
  await ctx.reads.waitFor(start, { projections: ['certificates'], timeoutMs: 60_000 });
  for (const row of await queries.revoked()) revoked.add(row.serial);
  let known = start;
  const refresh = async (position: number): Promise<void> => {
    await ctx.reads.waitFor(position, { projections: ['certificates'] });
    for (
      let rows = await queries.changedSince(known, maxChangedRows);
      rows.length > 0;
      rows = await queries.changedSince(known, maxChangedRows)
    ) {
      for (const row of rows) {
        const isRevoked = row.reason !== null;
        if (isRevoked !== revoked.has(row.serial)) {
          if (isRevoked) revoked.add(row.serial);
          else revoked.delete(row.serial);
          for (const listener of listeners) listener({ serialHex: row.serial, kind: row.kind, subject: row.subject, revoked: isRevoked });
        }
        known = row.position;
      }
    }
  };
  const subscription: Subscription = ctx.store.subscribe(start, async events => {
    if (events.some(event => changesRevocation(event.type))) await refresh(events.at(-1)?.position ?? known);
  });
  return {
    isRevoked: serialHex => revoked.has(serialHex),
    onChange: listener => void listeners.push(listener),
    async caughtUp(position) {
      const deadline = Date.now() + maxCaughtUpMs;
      while (subscription.position < position && Date.now() < deadline) await sleep(pollMs);
    },
    close: () => subscription.stop(),
  };
}

const crlLifetimeDays = 7;

/** Builds, signs and records the next full CRL of an issuing CA (RFC 5280 §5). `root` has none revoked: its list is empty. */
export async function issueCrl(ctx: Context, icaId: string): Promise<Uint8Array> {
  const { crls } = await authorityOf(ctx);
  const newest = crls.find(crl => crl.icaId === icaId);
  const ca = await caById(ctx, icaId);
  const number = (newest?.number ?? 0) + 1;
  const thisUpdate = ctx.clock().toISOString();
  const nextUpdate = new Date(ctx.clock().getTime() + crlLifetimeDays * 86_400_000).toISOString();
  const rows = await certificateQueries(ctx.reads.db).revoked(icaId);
  const entries = rows.flatMap(row =>
    row.reason !== null && row.revoked_at !== null && isRevocationReason(row.reason)
      ? [encodeCrlEntry({ serialHex: row.serial, revokedAt: row.revoked_at, reason: row.reason })]
      : [],
  );
  const der = await buildCrl({ issuer: ca.certificate, number, thisUpdate, nextUpdate, entries }, ca.signer);
  const sha256 = await ctx.blobs.put(der);
  await execute(
    ctx,
    authority,
    authorityStream(ctx.project),
    { type: 'IssueCrl', icaId, number, sha256, thisUpdate, nextUpdate },
    'system:crl',
  );
  return der;
}

/** The newest CRL of an issuing CA, signed anew when there is none, when half of its life is over, or when `fresh` asks for it. */
export async function currentCrl(ctx: Context, icaId: string, fresh = false): Promise<Uint8Array> {
  const crl = (await authorityOf(ctx)).crls.find(candidate => candidate.icaId === icaId);
  const halfLifeMs = (crlLifetimeDays * 86_400_000) / 2;
  const isStale = crl === undefined || Date.parse(crl.nextUpdate) - ctx.clock().getTime() < halfLifeMs;
  return fresh || isStale ? issueCrl(ctx, icaId) : ctx.blobs.get(crl.sha256);
}
