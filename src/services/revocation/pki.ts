import type { Context } from '../base/context.ts';
import { type BulkRevocations, createBulkRevocations } from './bulkRevocations.ts';
import { type Ocsp, startOcsp } from './ocsp.ts';
import type { Revocations } from './revocations.ts';

/** What keeps certificates believable, wired once per process: status for whoever asks, revocation of many at once. */
export type Pki = {
  readonly ocsp: Ocsp;
  readonly bulk: BulkRevocations;
  close(): Promise<void>;
};

export async function startPki(ctx: Context, revocations: Revocations): Promise<Pki> {
  const ocsp = await startOcsp(ctx, revocations);
  return { ocsp, bulk: createBulkRevocations(ctx), close: ocsp.close };
}
