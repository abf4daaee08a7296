import { toHex } from '../../bytes.ts';
import { allotmentStream } from '../../domain/allotment.ts';
import type { AllotmentEvent } from '../../domain/allotmentEvents.ts';
import type { OpenedAllotment } from '../../domain/allotmentState.ts';
import { type CountingRecord, compareLedger, type RecordedUnit } from '../../domain/ledgerStory.ts';
import type { Finding } from '../../domain/reconciliation.ts';
import { streamOf } from '../../eventstore/recorded.ts';
import { type LedgerRecord, readLedgerRecord } from '../../production/ledger.ts';
import type { Context } from '../base/context.ts';
import { authKeyOf, programmerOf } from './programmers.ts';
import { hadBootloader } from './unitVoid.ts';

/** Reads the ledger of one share from its newest record back to the first, and holds it against the share's events. */
export async function ledgerFindingsOf(ctx: Context, state: OpenedAllotment): Promise<readonly Finding[]> {
  const { jobId, programmer } = state;
  const records = await recordsOf(ctx, state);
  const events = await streamOf<AllotmentEvent>(ctx.store, allotmentStream(jobId, programmer));
  const units = recordedUnits(events);
  // Few units are scrapped, so their grants are read one by one.
  const told: RecordedUnit[] = [];
  for (const unit of units) told.push(unit.scrapped ? { ...unit, hasBootloader: await hadBootloader(ctx, unit.grantId) } : unit);
  return compareLedger(programmer, records, told);
}

async function recordsOf(ctx: Context, { segments, programmer }: OpenedAllotment): Promise<readonly CountingRecord[]> {
  const newest = segments.at(-1);
  if (newest === undefined) return [];
  const key = authKeyOf(await programmerOf(ctx, programmer));
  const records: CountingRecord[] = [];
  let hash = newest.headHash;
  for (let number = newest.to; number > 0; number -= 1) {
    const record = await readLedgerRecord(await ctx.blobs.get(hash), () => key);
    records.push(counting(record));
    hash = toHex(record.previousSha256);
  }
  return records.reverse();
}

const counting = ({ number, type, uid, grantId, receiptSha256, remaining, scrap }: LedgerRecord): CountingRecord => ({
  number,
  type,
  ...(uid && { uid: toHex(uid) }),
  ...(grantId && { grantId: toHex(grantId) }),
  ...(receiptSha256 && { receiptSha256: toHex(receiptSha256) }),
  ...(remaining !== undefined && { remaining }),
  ...(scrap !== undefined && { scrap }),
});

function recordedUnits(events: readonly AllotmentEvent[]): readonly RecordedUnit[] {
  const units = new Map<string, RecordedUnit>();
  for (const event of events) {
    if (event.type === 'UnitReserved') {
      const { uid, grantId, ledgerNumber } = event.data;
      units.set(grantId, { uid, grantId, ledgerNumber, outcome: 'open' });
      continue;
    }
    if (event.type !== 'UnitCommitted' && event.type !== 'UnitVoided') continue;
    const unit = units.get(event.data.grantId);
    if (unit === undefined) continue;
    const end =
      event.type === 'UnitCommitted'
        ? ({ outcome: 'committed', receiptSha256: event.data.receiptSha256 } as const)
        : ({ outcome: 'voided', scrapped: event.data.scrapped } as const);
    units.set(unit.grantId, { ...unit, ...end });
  }
  return [...units.values()];
}
