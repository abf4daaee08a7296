import type { Alarms } from './alarms.ts';
import { type BulkRevocations, startBulkRevocations } from './bulkRevocation.ts';
import type { Context } from './context.ts';
import { type CrlSchedule, startCrlSchedule } from './crlSchedule.ts';
import { type ExpiryScan, startExpiryScan } from './expiry.ts';
import { type Ocsp, startOcsp } from './ocsp.ts';
import type { Revocations } from './revocations.ts';

/** What keeps certificates believable, wired once per process: status for whoever asks, lists that never run out,
 *  notice before certificates end, revocation of many at once. */
export type Pki = {
  readonly ocsp: Ocsp;
  readonly crlSchedule: CrlSchedule;
  readonly expiry: ExpiryScan;
  readonly bulk: BulkRevocations;
  close(): Promise<void>;
};

export type PkiParts = { readonly ctx: Context; readonly alarms: Alarms; readonly revocations: Revocations };

export async function startPki({ ctx, alarms, revocations }: PkiParts): Promise<Pki> {
  const ocsp = await startOcsp(ctx, revocations);
  const crlSchedule = startCrlSchedule(ctx, revocations, alarms);
  const expiry = startExpiryScan(ctx, alarms);
  const bulk = startBulkRevocations(ctx, alarms);
  void crlSchedule.check();
  void expiry.check();
  return {
    ocsp,
    crlSchedule,
    expiry,
    bulk,
    async close() {
      await bulk.close();
      await expiry.close();
      await crlSchedule.close();
      await ocsp.close();
    },
  };
}
