import { opening } from '../../closing.ts';
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
export const startHousekeeping = (services: HousekeepingParts, markFile: string, epoch: number): Promise<{ close(): Promise<void> }> =>
  opening(async own => {
    const { revocations } = services;
    const ctx = { ...services.ctx, epoch };
    const alarms = createAlarms(ctx);
    own('revocation mark', await keepRevocationMark({ ctx, alarms, revocations }, markFile));
    own('bulk revocations', await startBulkRevocationWork(ctx, alarms));
    const crlSchedule = own('CRL schedule', startCrlSchedule(ctx, revocations, alarms));
    const expiry = own('expiry scan', startExpiryScan(ctx, alarms));
    own('unit expiry', startUnitExpiry(ctx));
    void crlSchedule.check();
    void expiry.check();
    return {};
  });
