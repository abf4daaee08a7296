import { type InstalledFirmware, judgeOffer, type OfferRules } from '../../domain/offer.ts';
import { imageHashesOf, type UploadedRelease } from '../../domain/release.ts';
import { NusecError } from '../../errors.ts';
import { type Context, reader } from '../base/context.ts';
import { livingDeviceIn } from '../base/livingDevice.ts';
import { requireEncryptedEnough } from './encryptedFirmware.ts';
import { lineIn } from './lines.ts';
import { checkCounter, releaseOf } from './releases.ts';

/** What of a plan can never be offered, and is known when it is planned. What may be otherwise by then (a device in quarantine, one without a key, a step
 *  of the counter that another rollout makes smaller) is judged when it is offered. */

export type PlanAims = {
  readonly devices?: readonly string[] | undefined;
  readonly fromRelease?: string | undefined;
  readonly permitDowngrade?: boolean | undefined;
};

/** @throws NusecError as `planRollout` */
export async function requireOfferable(ctx: Context, release: UploadedRelease, { devices = [], ...aims }: PlanAims): Promise<void> {
  const read = reader(ctx);
  const { rollbackFloor, counterMaximum, encryption } = await lineIn(read, release.line);
  checkCounter(release.securityCounter, rollbackFloor, counterMaximum);
  requireEncryptedEnough(encryption, release);
  const downgradePermit = aims.permitDowngrade && { downgradePermit: { approvers: ['planner', 'approver'] } };
  const rules = { rollbackFloor, counterMaximum, counterJumpApproved: true, ...downgradePermit };
  if (aims.fromRelease !== undefined) {
    const from = await releaseOf(ctx, aims.fromRelease);
    if (from.releaseId === release.releaseId) throw new NusecError('BAD_REQUEST', 'a rollout leads from one release to another one');
    requireLine(`release ${from.releaseId}`, from.line, release);
    if (from.image !== release.image) throw new NusecError('WRONG_PRODUCT', `release ${from.releaseId} is a bootloader`);
    requireNewer(`release ${from.releaseId}`, from, release, rules);
  }
  for (const uid of new Set(devices)) {
    const { line, status, firmware, provenCounter = 0 } = await livingDeviceIn(read, uid);
    requireLine(`device ${uid}`, line, release);
    if (status === 'DECOMMISSIONED') throw new NusecError('DEVICE_STATE', `device ${uid} is decommissioned`);
    if (firmware === undefined) continue;
    const securityCounter = Math.max(firmware.securityCounter, provenCounter);
    requireNewer(`device ${uid}`, { ...firmware, securityCounter }, release, rules);
  }
}

function requireLine(what: string, line: string, release: UploadedRelease): void {
  if (line !== release.line) throw new NusecError('WRONG_PRODUCT', `${what} is of the line ${line}, and the release of ${release.line}`);
}

function requireNewer(what: string, firmware: InstalledFirmware, release: UploadedRelease, rules: OfferRules): void {
  const refusal = judgeOffer({ ...release, able: true, firmware }, { ...release, imageHashes: imageHashesOf(release) }, rules);
  const { version, securityCounter } = firmware;
  if (refusal === 'ROLLBACK')
    throw new NusecError(refusal, `${what} has the counter ${securityCounter}, and the release only ${release.securityCounter}`);
  if (refusal !== 'DOWNGRADE') return;
  const mayPermit = securityCounter === release.securityCounter;
  const way = mayPermit ? 'plan it with --permit-downgrade' : 'take a release with a higher version';
  throw new NusecError(refusal, `${what} has the version ${version}, and the release ${release.version}: ${way}`);
}
