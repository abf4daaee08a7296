import { fromHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import type { Core } from './core.ts';
import { readIdentity } from './identity.ts';
import { appendRecord } from './ledgerBook.ts';
import { type JobState, jobOf, neededImages, remainingUnits, withJob } from './nvm.ts';

/** The end of a job on this programmer (RULE-19, R82): cached images are erased, what is left of the count is given up, and a signed
 *  ledger record, the last of the package, reports it to the server. A new package of a higher sequence begins again. */

/** @returns units that would be given up @throws as zeroiseJob */
export function erasedByZeroise(core: Core, jobId: string): number {
  const job = jobOf(core.nvm.state(), jobId);
  if (job.open > 0) throw new NusecError('STATE', 'a unit of this job is under way');
  return remainingUnits(job);
}

/** @returns units that were given up @throws NusecError NOT_FOUND, STATE while a unit is under way */
export async function zeroiseJob(core: Core, jobId: string): Promise<number> {
  const erasedCount = erasedByZeroise(core, jobId);
  const job = jobOf(core.nvm.state(), jobId);
  if (job.zeroised !== false) return 0;
  const identity = readIdentity(core.chip);
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
  const needed = neededImages(jobs, jobId);
  for (const image of jobs[jobId]?.images ?? []) if (!needed.has(image)) core.images.erase(image);
}
