import { fromHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { type Core, withServer } from './core.ts';
import { readIdentity } from './identity.ts';
import { appendRecord } from './ledgerBook.ts';
import { type JobState, jobOf, type NvmState, remainingUnits, withJob } from './nvm.ts';
import { deliverAcknowledgement, storeAcknowledged } from './packageImport.ts';
import type { ServerApi } from './serverApi.ts';

/** The end of a job on this programmer (RULE-19, R82): cached images are erased, what is left of the count is given up, and a signed
 *  ledger record, the last of the package, says so to the server. A new package of a higher sequence begins again. */

/** @returns units that were given up @throws NusecError NOT_FOUND, STATE while a unit is under way */
export async function zeroiseJob(core: Core, jobId: string): Promise<number> {
  const job = jobOf(core.nvm.state(), jobId);
  if (job.open > 0) throw new NusecError('STATE', 'a unit of this job is under way');
  if (job.zeroised !== false) return 0;
  const identity = readIdentity(core.chip);
  const erasedCount = remainingUnits(job);
  eraseImages(core, jobId);
  const ids = { jobId: fromHex(jobId), packageId: fromHex(job.packageId) };
  const ledger = await appendRecord(job.ledger, { type: 'zeroise', ...ids, remaining: 0 }, identity.signer, core.uptimeSeconds());
  const ended: JobState = { ...job, ledger, images: [], zeroised: 'recorded' };
  core.nvm.update(state => withJob(state, ended));
  core.tell({ event: 'job-zeroised', jobId, erasedCount, erasedImages: job.images.length });
  return erasedCount;
}

/** Erases the images of a job that no other job needs. They may be fetched again, so this alone needs no record. */
export function eraseImages(core: Core, jobId: string): void {
  const { jobs } = core.nvm.state();
  const needed = new Set(Object.values(jobs).flatMap(job => (job.jobId === jobId || job.zeroised !== false ? [] : job.images)));
  for (const image of jobs[jobId]?.images ?? []) if (!needed.has(image)) core.images.erase(image);
}

/** What the server still has to hear: acknowledgements of imports, ends of jobs. */
export const hasOutstanding = ({ jobs }: NvmState): boolean =>
  Object.values(jobs).some(job => !job.acknowledgementSent || job.zeroised === 'recorded');

/** Sends what is outstanding. What the server refuses for one job does not hold up the others.
 *  @throws NusecError SERVER_UNREACHABLE, or the last refusal */
export async function deliverOutstanding(core: Core): Promise<void> {
  await withServer(core, async server => {
    let refusal: NusecError | undefined;
    for (const { jobId } of Object.values(core.nvm.state().jobs)) {
      await deliverOfJob(core, server, jobId).catch((error: unknown) => {
        if (!(error instanceof NusecError) || error.code === 'SERVER_UNREACHABLE') throw error;
        refusal = error;
      });
    }
    if (refusal) throw refusal;
  });
}

async function deliverOfJob(core: Core, server: ServerApi, jobId: string): Promise<void> {
  if (!jobOf(core.nvm.state(), jobId).acknowledgementSent) await deliverAcknowledgement(core, jobId, server);
  const { zeroised, ledger } = jobOf(core.nvm.state(), jobId);
  if (zeroised !== 'recorded') return;
  await server.zeroise(jobId, ledger.pending);
  storeAcknowledged(core, jobId, ledger.pending, job => ({ ...job, zeroised: 'told' }));
}
