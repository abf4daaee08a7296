import { createHash } from 'node:crypto';
import { concat, fromHex, toHex, utf8 } from '../../bytes.ts';
import type { Actor, IsoTime } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import type { Unit } from '../../domain/allotmentEvents.ts';
import { liveReservation, type OpenedAllotment, requireLiveGrant } from '../../domain/allotmentState.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { grant, grantStream, type SignedGrant } from '../../domain/grant.ts';
import { jobStream, job as jobs } from '../../domain/job.ts';
import { type CreatedJob, requireRunningJob, requireSameSite } from '../../domain/jobState.ts';
import { programmerStream, programmer as programmers } from '../../domain/programmer.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { signGrant } from '../../production/grant.ts';
import { secondsOf } from '../../times.ts';
import { authorityOf, signerFor } from '../authority/authority.ts';
import type { Parts } from '../base/alarms.ts';
import { type Condition, type Context, execute, executeIf, executeOn, newHexId, nowIso, stateOf } from '../base/context.ts';
import { idBytesOf, livingDevice } from '../base/livingDevice.ts';
import { allotmentOf } from './allotments.ts';
import { inWork, requireFirmware } from './conditions.ts';
import { jobOf } from './jobs.ts';
import { acceptLedger, type Ledger, raiseLedgerGap, readLedger } from './ledger.ts';
import { opened } from './packages.ts';
import { activeProgrammer, authKeyOf } from './programmers.ts';
import { unitDataOf } from './series.ts';
import { isListed, uidProofFor } from './uidLists.ts';
import { settleVoid, uidUseOf, voidUnit } from './unitVoid.ts';

/** One unit at a time (R65–R68): reserved by a signed ledger record, granted by a signed grant. Every step can be repeated after a crash
 *  at any place and ends in the same state (T33). */

export type Reservation = {
  readonly jobId: string;
  readonly uid: string;
  /** COSE ledger records the server has not acknowledged; the last one is the reserve record of this unit. */
  readonly ledger: readonly Uint8Array[];
};
export type GrantAnswer = { readonly grantId: string; readonly objId: string; readonly grant: Uint8Array; readonly expiresAt: IsoTime };

/** Grants one unit. The same live (job, UID) gets the same grant.
 *  @throws NusecError PROGRAMMER_NOT_ACTIVE, JOB_NOT_RUNNING, WRONG_SITE, RELEASE_STATE, ROLLBACK, ENCRYPTION_REQUIRED, UID_NOT_LISTED (T7), COUNT_EXHAUSTED (T1), VALUES_EXHAUSTED, RATE_LIMITED (T24), UID_CONFLICT (T25),
 *  DEVICE_STATE (the chip's life is over), LEDGER_GAP (T2), LEDGER_SIGNATURE, GRANT_EXPIRED, GRANT_USED, ALLOTMENT_FROZEN */
export async function reserveUnit(parts: Parts, programmer: string, request: Reservation, by: Actor): Promise<GrantAnswer> {
  const { ctx } = parts;
  const { jobId, uid } = request;
  const caller = await activeProgrammer(ctx, programmer);
  const job = await jobOf(ctx, jobId);
  const before = opened(await allotmentOf(ctx, jobId, programmer));
  const ledger = await readLedger(parts, before, authKeyOf(caller), request.ledger, by);
  requireReserveRecord(ledger, before, uid);
  await voidWhatTheLedgerVoids(parts, before, ledger, by);
  const unit = await reserve(parts, job, by, { uid, progUid: programmer, ledger });
  await acceptLedger(parts, jobId, programmer, ledger, by);
  await mint(parts, job, programmer, unit, by);
  return { grantId: unit.grantId, objId: unit.objId, expiresAt: unit.expiresAt, grant: await signedGrant(ctx, job, programmer, unit, by) };
}

function requireReserveRecord({ last }: Ledger, state: OpenedAllotment, uid: string): void {
  const { type, uid: recorded, packageId } = last.record;
  const fits = type === 'reserve' && recorded !== undefined && toHex(recorded) === uid;
  if (!fits) throw new NusecError('BAD_REQUEST', 'the last ledger record is not the reservation of this UID');
  const isNewestPackage = packageId !== undefined && toHex(packageId) === state.importedPackageId;
  if (!isNewestPackage) throw new NusecError('PACKAGE_REFUSED', 'the reservation counts on another package than the one imported last');
}

/** A reservation whose answer got lost may be voided by the programmer before it ever knew the grant. */
export async function voidWhatTheLedgerVoids(parts: Parts, state: OpenedAllotment, { fresh }: Ledger, by: Actor): Promise<void> {
  for (const { record } of fresh) {
    if (record.type !== 'void' || record.uid === undefined) continue;
    const live = liveReservation(state, toHex(record.uid));
    if (live === undefined || live.ledgerNumber > record.number) continue;
    await voidUnit(parts.ctx, state, live.grantId, { reason: record.reason ?? 'voided', otpTouched: false }, by);
  }
}

type Asked = { readonly uid: string; readonly progUid: string; readonly ledger: Ledger };

async function reserve(parts: Parts, job: CreatedJob, by: Actor, { uid, progUid, ledger }: Asked): Promise<Unit> {
  const { ctx } = parts;
  const stream = allotmentStream(job.jobId, progUid);
  const { record, hash } = ledger.last;
  const state = opened(await allotmentOf(ctx, job.jobId, progUid));
  const live = liveReservation(state, uid);
  if (live !== undefined && Date.parse(live.expiresAt) <= ctx.clock().getTime()) {
    await voidUnit(ctx, state, live.grantId, { reason: 'grant-expired', otpTouched: 'unknown' }, by);
    throw new NusecError('GRANT_EXPIRED', 'the grant of this UID has expired; reserve it again');
  }
  const isOld = ledger.fresh.length === 0 || (state.ledger.number === record.number && state.ledger.head === hash);
  if (live === undefined && isOld) throw new NusecError('GRANT_USED', 'the grant of this ledger record has ended');
  const facts = {
    uid,
    objId: newHexId(ctx),
    grantId: newHexId(ctx),
    ledgerNumber: record.number,
    ledgerHead: hash,
    uidListed: await isListed(ctx, job, fromHex(uid)),
    uidUse: await uidUseOf(ctx, uid, live?.grantId),
    now: nowIso(ctx),
  };
  const commandOf = async (read: Read) => ({
    type: 'ReserveUnit' as const,
    ...facts,
    ...(await standing(read, job.jobId, state.programmer)),
    ...(await nextUnitData(ctx, job, state)),
  });
  const { events, state: after } = await executeOn(ctx, allotment, stream, commandOf, by);
  if (events.some(event => event.type === 'LedgerGapDetected')) await raiseLedgerGap(parts, state);
  const unit = liveReservation(after, uid);
  if (unit === undefined && facts.uidUse !== 'free') await refuseUid(parts, state, uid, facts.uidUse);
  if (unit === undefined) throw new NusecError('GRANT_USED', 'the reservation has ended already');
  return unit;
}

/** Job, site, line and firmware of a new unit: a chip that could not be finished is not begun.
 *  @throws NusecError WRONG_SITE, RELEASE_STATE, ROLLBACK, ENCRYPTION_REQUIRED */
async function standing(read: Read, jobId: string, programmer: string) {
  const caller = await read(programmers, programmerStream(programmer));
  const running = await read(jobs, jobStream(jobId));
  const [programmerActive, jobRunning] = [caller.status === 'ACTIVE', running.status === 'RUNNING'];
  if (caller.status === 'ACTIVE' && running.status === 'RUNNING') {
    requireSameSite(running, caller.shippedTo);
    await requireFirmware(read, running);
  }
  return { programmerActive, jobRunning };
}

/** Of the next reservation: read again whenever the share has moved. */
async function nextUnitData(ctx: Context, job: CreatedJob, { programmer }: OpenedAllotment) {
  if (job.unitData === undefined) return {};
  const share = opened(await allotmentOf(ctx, job.jobId, programmer));
  const unitData = await unitDataOf(ctx, job, share, share.reserved + 1);
  return unitData === undefined ? {} : { unitData };
}

/** A chip that has a life already (I3, T25, silence 18). The claim says something about the programmer alone: the device stays as it is.
 *  @throws NusecError UID_CONFLICT, DEVICE_STATE */
async function refuseUid({ alarms }: Parts, { jobId, programmer }: OpenedAllotment, uid: string, use: 'inUse' | 'ended'): Promise<never> {
  const code = use === 'ended' ? 'DEVICE_STATE' : 'UID_CONFLICT';
  const what = use === 'ended' ? 'whose life is over' : 'that is a live device';
  await alarms.raise({ code, subject: programmerStream(programmer), detail: `job ${jobId}: asked to build ${uid}, ${what}` });
  throw new NusecError(code, use === 'ended' ? 'the life of this chip is over; it gets no grant' : 'a live device has this UID');
}

/** I3: two programmers may reserve the same UID at the same time; the device's stream knows one of them. */
async function mint(parts: Parts, job: CreatedJob, programmer: string, unit: Unit, by: Actor): Promise<void> {
  const { ctx } = parts;
  const { uid, objId, grantId } = unit;
  await settleVoid(ctx, uid, by);
  const command = { type: 'MintDevice', uid, objId, line: job.line, jobId: job.jobId, programmer, grantId } as const;
  try {
    await execute(ctx, device, deviceStream(uid), command, by);
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
    const state = opened(await allotmentOf(ctx, job.jobId, programmer));
    await voidUnit(ctx, state, grantId, { reason: 'uid-conflict', otpTouched: false }, by);
    const use = await uidUseOf(ctx, uid, undefined);
    if (use !== 'free') await refuseUid(parts, state, uid, use);
    throw error;
  }
}

async function signedGrant(ctx: Context, job: CreatedJob, programmer: string, unit: Unit, by: Actor): Promise<Uint8Array> {
  const known = await stateOf(ctx, grant, grantStream(unit.grantId));
  if (known.status === 'SIGNED') return ctx.blobs.get(known.grantSha256);
  const uidProof = await uidProofFor(ctx, job, fromHex(unit.uid));
  const message = await signGrant(
    {
      grantId: fromHex(unit.grantId),
      jobId: fromHex(job.jobId),
      ...idBytesOf(unit),
      progUid: fromHex(programmer),
      number: unit.number,
      expiresAtSeconds: secondsOf(Date.parse(unit.expiresAt)),
      ledgerHead: fromHex(unit.ledgerHead),
      ...(uidProof !== undefined && { uidProof }),
    },
    await signerFor(ctx, await authorityOf(ctx), 'grant'),
  );
  const facts = { jobId: job.jobId, programmer, uid: unit.uid, objId: unit.objId, grantSha256: await ctx.blobs.put(message) };
  const condition = inWork(ctx, { ...facts, grantId: unit.grantId });
  const { state } = await executeIf(ctx, condition, grant, grantStream(unit.grantId), { type: 'RecordGrant', ...facts }, by);
  return ctx.blobs.get(state.status === 'SIGNED' ? state.grantSha256 : facts.grantSha256);
}

/** A unit under construction and everything that says so. */
export type UnitInWork = {
  readonly grantId: string;
  readonly signed: SignedGrant;
  readonly unit: Unit;
  readonly job: CreatedJob;
  readonly device: LivingDevice;
  /** Of whatever is decided about it. */
  readonly condition: Condition;
};

/** Whose grant this is. @throws NusecError NOT_FOUND also for a grant of another programmer */
export async function grantOf(ctx: Context, programmer: string, grantId: string) {
  const state = await stateOf(ctx, grant, grantStream(grantId));
  if (state.status === 'NONE' || state.programmer !== programmer) throw new NusecError('NOT_FOUND', 'there is no such grant');
  return state;
}

/** The live unit of a grant of a running job (RULE-5, I12).
 *  @throws NusecError PROGRAMMER_NOT_ACTIVE, NOT_FOUND, GRANT_EXPIRED, GRANT_USED, ALLOTMENT_FROZEN, JOB_NOT_RUNNING, DEVICE_STATE */
export async function unitInWork(ctx: Context, programmer: string, grantId: string): Promise<UnitInWork> {
  await activeProgrammer(ctx, programmer);
  const signed = await grantOf(ctx, programmer, grantId);
  const unit = requireLiveGrant(await allotmentOf(ctx, signed.jobId, programmer), grantId, signed.uid, nowIso(ctx));
  const owner = await jobOf(ctx, signed.jobId);
  requireRunningJob(owner);
  const state = await livingDevice(ctx, signed.uid);
  if (state.grantId !== grantId) throw new NusecError('DEVICE_STATE', 'the unit is built under another grant');
  return { grantId, signed, unit, job: owner, device: state, condition: inWork(ctx, { ...signed, grantId }) };
}

/** Nonce of a receipt that is asked for under a grant: SHA-256(label ‖ grantId)[0..16]. */
export const receiptNonce = (label: 'NuSEC lock receipt' | 'NuSEC commit receipt' | 'NuSEC void receipt', grantId: string): Uint8Array =>
  digest(utf8(label), fromHex(grantId)).slice(0, 16);

/** RandomData of KEY_EXCHANGE in the programming session: SHA-256("NuSEC programming session" ‖ grant), so that evidence is of this unit. */
export const sessionNonce = (signedGrantBytes: Uint8Array): Uint8Array => digest(utf8('NuSEC programming session'), signedGrantBytes);

function digest(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(
    createHash('sha256')
      .update(concat(...parts))
      .digest(),
  );
}
