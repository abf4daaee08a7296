import type { Alarms } from './alarms.ts';
import type { Context } from './context.ts';
import { type CrlSchedule, startCrlSchedule } from './crlSchedule.ts';
import { type Ocsp, startOcsp } from './ocsp.ts';
import type { Revocations } from './revocations.ts';

/** What keeps certificates believable, wired once per process: status for whoever asks, lists that never run out. */
export type Pki = {
  readonly ocsp: Ocsp;
  readonly crlSchedule: CrlSchedule;
  close(): Promise<void>;
};

export type PkiParts = { readonly ctx: Context; readonly alarms: Alarms; readonly revocations: Revocations };

export async function startPki({ ctx, alarms, revocations }: PkiParts): Promise<Pki> {
  const ocsp = await startOcsp(ctx, revocations);
  const crlSchedule = startCrlSchedule(ctx, revocations, alarms);
  void crlSchedule.check();
  return {
    ocsp,
    crlSchedule,
    async close() {
      await crlSchedule.close();
      await ocsp.close();
    },
  };
}
