import { createAlarms } from '../base/alarms.ts';
import { startExpiryScan } from '../identity/expiry.ts';
import { startUnitExpiry } from '../production/unitExpiry.ts';
import { startBulkRevocationWork } from '../revocation/bulkRevocations.ts';
import { startCrlSchedule } from '../revocation/crlSchedule.ts';
import { keepRevocationMark, type MarkParts } from '../revocation/revocationMark.ts';

type HousekeepingParts = Omit<MarkParts, 'alarms'>;

/** What one of the processes at a data folder does for all of them: lists signed ahead of time, certificates that end, reservations that ran out,
 *  revocations in bulk, the high-water mark.
 *  @param epoch the leadership under which all of it is appended */
export async function startHousekeeping(services: HousekeepingParts, markFile: string, epoch: number): Promise<() => Promise<void>> {
  const ctx = { ...services.ctx, epoch };
  const parts = { ctx, alarms: createAlarms(ctx), revocations: services.revocations };
  const { alarms, revocations } = parts;
  const mark = await keepRevocationMark(parts, markFile);
  const bulk = await startBulkRevocationWork(ctx, alarms);
  const crlSchedule = startCrlSchedule(ctx, revocations, alarms);
  const expiry = startExpiryScan(ctx, alarms);
  const unitExpiry = startUnitExpiry(ctx);
  void crlSchedule.check();
  void expiry.check();
  return async () => {
    await unitExpiry.close();
    await expiry.close();
    await crlSchedule.close();
    await bulk.close();
    await mark.close();
  };
}
