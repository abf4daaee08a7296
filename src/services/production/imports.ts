import { toHex } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import { remainingUnits } from '../../domain/allotmentState.ts';
import { NusecError } from '../../errors.ts';
import { verifyPackageAck } from '../../production/packageAck.ts';
import type { Parts } from '../base/alarms.ts';
import { always, type Condition, executeIf, nowIso } from '../base/context.ts';
import { watchProof } from '../base/programmerProof.ts';
import { allotmentOf } from './allotments.ts';
import { requireWorking } from './conditions.ts';
import { acceptLedger, readLedger } from './ledger.ts';
import { opened } from './packages.ts';
import { activeProgrammer, authKeyOf } from './programmers.ts';
import { voidWhatTheLedgerVoids } from './units.ts';

/** A programmer reports which package it counts with now (R62–R64, T3, T6). */

export type ImportNotice = {
  /** 32 hex. */
  readonly packageId: string;
  readonly acknowledgement: Uint8Array;
  /** COSE ledger records; the last one is the import record. */
  readonly ledger: readonly Uint8Array[];
};
export type ImportAnswer = { readonly jobId: string; readonly remaining: number; readonly acknowledged: number };

/** Only the newest package of a share counts; the same notice again changes nothing.
 *  @throws NusecError JOB_NOT_RUNNING, COSE_SIGNATURE, PACKAGE_REFUSED (not exported for this programmer), PACKAGE_REPLAYED, PACKAGE_EXPIRED, LEDGER_GAP … */
export async function recordImport(parts: Parts, programmer: string, notice: ImportNotice, by: Actor): Promise<ImportAnswer> {
  const { ctx } = parts;
  const key = authKeyOf(await activeProgrammer(ctx, programmer));
  const about = `package ${notice.packageId}`;
  const ack = await watchProof(parts.alarms, programmer, about, () => verifyPackageAck(notice.acknowledgement, () => key));
  const jobId = toHex(ack.jobId);
  const isOwn = toHex(ack.progUid) === programmer && toHex(ack.packageId) === notice.packageId;
  const state = await allotmentOf(ctx, jobId, programmer);
  if (!isOwn || state.status === 'NONE')
    throw new NusecError('PACKAGE_REFUSED', 'the acknowledgement is not of a package of this programmer');
  const exported = state.packages.find(({ packageId }) => packageId === notice.packageId);
  if (exported?.sha256 !== toHex(ack.packageSha256)) throw new NusecError('PACKAGE_REFUSED', 'no such package was exported');
  const ledger = await readLedger(parts, state, key, notice.ledger, by);
  const { type, packageId } = ledger.last.record;
  const isImport = type === 'import' && packageId !== undefined && toHex(packageId) === notice.packageId;
  if (!isImport || ledger.last.hash !== toHex(ack.ledgerHead)) {
    throw new NusecError('BAD_REQUEST', 'the last ledger record is not the import that is acknowledged');
  }
  const command = { type: 'ImportPackage', packageId: notice.packageId, now: nowIso(ctx) } as const;
  const isKnown = state.importedPackageId === notice.packageId;
  const condition: Condition = isKnown ? always : read => requireWorking(read, jobId, programmer);
  await executeIf(ctx, condition, allotment, allotmentStream(jobId, programmer), command, by);
  // Before the units left are said: what was reserved, and given up without a grant, comes back.
  await voidWhatTheLedgerVoids(parts, state, ledger, by);
  const acknowledged = await acceptLedger(parts, jobId, programmer, ledger, by);
  return { jobId, remaining: remainingUnits(opened(await allotmentOf(ctx, jobId, programmer))), acknowledged };
}
