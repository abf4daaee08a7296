import { toHex } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import { ledgerGenesisHex } from '../../domain/allotmentEvents.ts';
import type { OpenedAllotment } from '../../domain/allotmentState.ts';
import { job, jobStream } from '../../domain/job.ts';
import type { Discrepancy } from '../../domain/jobEvents.ts';
import { programmerStream } from '../../domain/programmer.ts';
import { NusecError } from '../../errors.ts';
import { historyOf } from '../../eventstore/recorded.ts';
import { type LedgerRecord, ledgerHeadOf, maxSegmentRecords, readLedgerRecord, verifyLedgerSegment } from '../../production/ledger.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { watchProof } from '../base/programmerProof.ts';

/** The programmers' ledgers (I14, T1, T2, T19): one chain per allotment, sent again until the server has taken it. Every record is a blob
 *  named by its hash, which is what the next record quotes, so the whole chain can be walked back and shown to anybody.
 *
 *  A request is judged in three steps, because a reservation must be granted before its record may count: `readLedger` verifies,
 *  the caller acts, `acceptLedger` takes the new records into the chain. */

type Entry = { readonly bytes: Uint8Array; readonly record: LedgerRecord; readonly hash: string };

/** Verified records of one request. */
export type Ledger = {
  /** Those the server has not taken yet, oldest first. */
  readonly fresh: readonly Entry[];
  readonly last: Entry;
  /** AUTH key of the programmer. */
  readonly key: Uint8Array;
};

/** Verifies what a programmer sent: signed by it, of this job, contiguous, and continuing or repeating what was taken before.
 *  Another history at a known place freezes the allotment (T2).
 *  @param key the programmer's AUTH key  @param signed COSE records, oldest first
 *  @throws NusecError BAD_REQUEST (none), LEDGER_SIGNATURE, LEDGER_GAP, BODY_TOO_LARGE */
export async function readLedger(
  parts: Parts,
  state: OpenedAllotment,
  key: Uint8Array,
  signed: readonly Uint8Array[],
  by: Actor,
): Promise<Ledger> {
  const entries = await watchProof(parts.alarms, state.programmer, `job ${state.jobId}`, () => readEntries(state, key, signed));
  const last = entries.at(-1);
  if (last === undefined) throw new NusecError('BAD_REQUEST', 'the request carries no ledger record');
  const known = newestOf(state);
  const fresh = entries.filter(({ record }) => record.number > known.to);
  const [first] = fresh;
  const continues =
    first === undefined ? await isTaken(parts.ctx, state, key, last) : toHex(first.record.previousSha256) === known.headHash;
  const isMissing = first !== undefined && first.record.number > known.to + 1;
  if (isMissing) throw new NusecError('LEDGER_GAP', `the next ledger record is ${known.to + 1}`);
  if (!continues) await refuseFork(parts, state, entries, by);
  return { fresh, last, key };
}

async function readEntries(state: OpenedAllotment, key: Uint8Array, signed: readonly Uint8Array[]): Promise<readonly Entry[]> {
  if (signed.length > maxSegmentRecords) throw new NusecError('BODY_TOO_LARGE', `a segment has at most ${maxSegmentRecords} records`);
  const { records } = await verifyLedgerSegment(signed, undefined, () => key);
  if (records.some(record => record.jobId !== undefined && toHex(record.jobId) !== state.jobId)) {
    throw new NusecError('LEDGER_SIGNATURE', 'a ledger record is of another job');
  }
  return signed.flatMap((bytes, index) => {
    const record = records[index];
    return record === undefined ? [] : [{ bytes, record, hash: toHex(ledgerHeadOf(bytes)) }];
  });
}

const newestOf = (state: OpenedAllotment) => state.segments.at(-1) ?? { to: 0, headHash: ledgerGenesisHex, counter: 0 };

/** Whether a record is in the chain that was accepted. */
async function isTaken(ctx: Context, state: OpenedAllotment, key: Uint8Array, { record, hash }: Entry): Promise<boolean> {
  const end = state.segments.find(segment => segment.to >= record.number);
  if (end === undefined) return false;
  let hashAt = end.headHash;
  for (let number = end.to; number > record.number; number--) hashAt = toHex((await takenRecord(ctx, key, hashAt)).previousSha256);
  return hashAt === hash;
}

const takenRecord = async (ctx: Context, key: Uint8Array, hash: string): Promise<LedgerRecord> =>
  readLedgerRecord(await ctx.blobs.get(hash), () => key);

async function refuseFork(parts: Parts, state: OpenedAllotment, entries: readonly Entry[], by: Actor): Promise<never> {
  const [first, last] = [entries[0] as Entry, entries.at(-1) as Entry];
  const segment = { from: first.record.number, to: last.record.number, headHash: last.hash, counter: 0 };
  const previousHash = toHex(first.record.previousSha256);
  await execute(parts.ctx, allotment, streamOf(state), { type: 'AcceptLedgerSegment', ...segment, previousHash }, by);
  return raiseLedgerGap(parts, state);
}

/** @throws NusecError LEDGER_GAP, always */
export async function raiseLedgerGap({ ctx, alarms }: Parts, state: OpenedAllotment): Promise<never> {
  const detail = 'the ledger contradicts what this programmer showed before';
  await recordDiscrepancy(ctx, state, { kind: 'ledger-tampering', programmer: state.programmer, detail });
  await alarms.raise({ code: 'LEDGER_GAP', subject: programmerStream(state.programmer), detail: `job ${state.jobId}: ${detail}` });
  throw new NusecError('LEDGER_GAP', detail);
}

/** Takes the new records into the chain. More reserve records than grants is overbuild: frozen, recorded, alarm (T1).
 *  @returns number of the newest record taken @throws NusecError LEDGER_GAP */
export async function acceptLedger(parts: Parts, jobId: string, programmer: string, ledger: Ledger, by: Actor): Promise<number> {
  const { ctx } = parts;
  const stream = allotmentStream(jobId, programmer);
  const [first] = ledger.fresh;
  if (first === undefined) return ledger.last.record.number;
  const before = await loadOpened(ctx, stream);
  const counter = newestOf(before).counter + (await countReserves(ctx, stream, ledger));
  for (const { bytes } of ledger.fresh) await ctx.blobs.put(bytes);
  const segment = { from: first.record.number, to: ledger.last.record.number, headHash: ledger.last.hash, counter };
  const previousHash = toHex(first.record.previousSha256);
  const { events } = await execute(ctx, allotment, stream, { type: 'AcceptLedgerSegment', ...segment, previousHash }, by);
  if (events.some(event => event.type === 'LedgerGapDetected')) await raiseLedgerGap(parts, before);
  if (events.some(event => event.type === 'AllotmentFrozen')) await raiseOverbuild(parts, before, counter);
  return segment.to;
}

async function raiseOverbuild({ ctx, alarms }: Parts, state: OpenedAllotment, counter: number): Promise<void> {
  const detail = `the ledger counts ${counter} reservations, the server ${state.reserved}`;
  await recordDiscrepancy(ctx, state, { kind: 'overbuild-attempt', programmer: state.programmer, detail });
  await alarms.raise({ code: 'ALLOTMENT_FROZEN', subject: programmerStream(state.programmer), detail: `job ${state.jobId}: ${detail}` });
}

async function recordDiscrepancy(ctx: Context, { jobId }: OpenedAllotment, discrepancy: Discrepancy): Promise<void> {
  await execute(ctx, job, jobStream(jobId), { type: 'RecordDiscrepancy', discrepancy }, 'system:ledger');
}

/** Reserve records, less those that were voided because the server refused the grant. */
async function countReserves(ctx: Context, stream: string, ledger: Ledger): Promise<number> {
  const reserves = ledger.fresh.filter(({ record }) => record.type === 'reserve').length;
  const voids = ledger.fresh.filter(({ record }) => record.type === 'void' && record.grantId === undefined);
  if (voids.length === 0) return reserves;
  const granted = await grantedNumbers(ctx, stream);
  const numbers = await Promise.all(voids.map(entry => reserveNumberOf(ctx, ledger, entry)));
  return reserves - numbers.filter(number => number !== undefined && !granted.has(number)).length;
}

async function grantedNumbers(ctx: Context, stream: string): Promise<ReadonlySet<number>> {
  const reservations = await historyOf(ctx.store, stream, 'UnitReserved');
  return new Set(reservations.map(({ data }) => data.ledgerNumber));
}

/** How far back a void looks for its reservation. */
const maxLookBackRecords = 1024;

/** Number of the reserve record that a void record ends. */
async function reserveNumberOf(ctx: Context, { fresh, key }: Ledger, end: Entry): Promise<number | undefined> {
  const known = new Map(fresh.map(({ hash, record }) => [hash, record]));
  let record = end.record;
  for (let step = 0; step < maxLookBackRecords && record.number > 1; step++) {
    const previous = toHex(record.previousSha256);
    record = known.get(previous) ?? (await takenRecord(ctx, key, previous));
    if (record.type === 'reserve' && uidOf(record) === uidOf(end.record)) return record.number;
  }
  return undefined;
}

const uidOf = ({ uid }: LedgerRecord): string | undefined => uid && toHex(uid);

async function loadOpened(ctx: Context, stream: string): Promise<OpenedAllotment> {
  const state = await stateOf(ctx, allotment, stream);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', 'there is no such allotment');
  return state;
}

const streamOf = ({ jobId, programmer }: OpenedAllotment): string => allotmentStream(jobId, programmer);
