import { toHex } from '../../../src/bytes.ts';
import { allotment, allotmentStream } from '../../../src/domain/allotment.ts';
import type { AllotmentEvent } from '../../../src/domain/allotmentEvents.ts';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { grant, grantStream } from '../../../src/domain/grant.ts';
import { type LedgerRecord, readLedgerRecord } from '../../../src/production/ledger.ts';
import { type Context, stateOf } from '../../../src/services/base/context.ts';
import { authKeyOf, programmerOf } from '../../../src/services/production/programmers.ts';

/** What the server knows of one share of a job, read from its event log and its blobs. */

/** Every unit that was ever reserved, oldest first, with what the server knows of it. */
export async function unitsOf(ctx: Context, jobId: string, uid: string) {
  const events = (await ctx.store.readStream(allotmentStream(jobId, uid))) as unknown as readonly AllotmentEvent[];
  const of = (type: AllotmentEvent['type'], grantId: string) =>
    events.find(event => event.type === type && 'grantId' in event.data && event.data.grantId === grantId)?.data;
  const reserved = events.flatMap(event => (event.type === 'UnitReserved' ? [event.data] : []));
  return Promise.all(
    reserved.map(async unit => {
      const voided = of('UnitVoided', unit.grantId) as { readonly reason: string; readonly scrapped: boolean } | undefined;
      const chip = await stateOf(ctx, device, deviceStream(unit.uid));
      const own = chip.status !== 'NONE' && chip.grantId === unit.grantId ? chip : undefined;
      const signed = await stateOf(ctx, grant, grantStream(unit.grantId));
      return {
        uid: unit.uid,
        grantId: unit.grantId,
        outcome: of('UnitCommitted', unit.grantId) ? 'committed' : voided ? 'voided' : 'open',
        ...(voided && { reason: voided.reason, scrap: voided.scrapped }),
        device: own?.status,
        isCertified: (own?.certificates.length ?? 0) > 0,
        isLocked: own?.debugLocked ?? false,
        isAuthenticated: own?.session?.grantId === unit.grantId,
        hasApplication: signed.status === 'SIGNED' && signed.trailers.app !== undefined,
      };
    }),
  );
}

/** The chain that the server has taken, oldest first. */
export async function ledgerOf(ctx: Context, jobId: string, uid: string): Promise<readonly LedgerRecord[]> {
  const state = await stateOf(ctx, allotment, allotmentStream(jobId, uid));
  const key = authKeyOf(await programmerOf(ctx, uid));
  const records: LedgerRecord[] = [];
  for (let hash = state.status === 'NONE' ? undefined : state.segments.at(-1)?.headHash; hash !== undefined && !/^0+$/.test(hash); ) {
    const record = await readLedgerRecord(await ctx.blobs.get(hash), () => key);
    records.unshift(record);
    hash = toHex(record.previousSha256);
  }
  return records;
}
