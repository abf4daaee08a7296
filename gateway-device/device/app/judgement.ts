import { equalBytes, toHex } from '../../../src/bytes.ts';
import { judgeOffer } from '../../../src/domain/offer.ts';
import { formatVersion } from '../../../src/domain/version.ts';
import { NusecError } from '../../../src/errors.ts';
import { judgeJob, type OtaJob, type SignedJob, verifyJob } from '../../../src/ota/otaJob.ts';
import { verifyImage } from '../../../src/ota/verify.ts';
import { compareVersion } from '../../../src/ota/version.ts';
import { maxSecurityCounter } from '../../../src/production/otpMap.ts';
import { signingKeysOf } from '../../../src/production/trustBundle.ts';
import type { Seconds } from '../../../src/times.ts';
import type { StageContext } from '../../chip/board.ts';
import { applicationPolicy, type BootedImage } from '../../chip/bootloader.ts';
import type { Permits } from '../../chip/firmwareHandlers.ts';
import { trustBundleOf } from '../../chip/trust.ts';
import { loadState, saveState } from './otaStore.ts';

/** What the device itself thinks of a job and of the image that came with it (T12, T13, I9). */

/** @returns undefined when no key of the trust bundle signed it */
export async function readJob({ chip }: StageContext, signed: Uint8Array): Promise<SignedJob | undefined> {
  try {
    return await verifyJob(signed, signingKeysOf(await trustBundleOf(chip), 'otaJob'));
  } catch (error) {
    if (error instanceof NusecError) return undefined;
    throw error;
  }
}

const codes = {
  'other-device': 'WRONG_PRODUCT',
  'other-product': 'WRONG_PRODUCT',
  expired: 'JOB_EXPIRED',
  replayed: 'JOB_REPLAYED',
  rollback: 'ROLLBACK',
  'too-large': 'IMAGE_REFUSED',
} as const;

/** The same checks as the server's, by the device's own knowledge: what it runs and what its OTP says. */
export function refusalOf({ chip }: StageContext, running: BootedImage, job: OtaJob, nowSeconds?: Seconds): string | undefined {
  const { vendorUuid = job.vendorUuid, classUuid = job.classUuid } = chip.bootDevice().config;
  const securityCounter = Math.max(running.securityCounter, chip.otp.counter('application'));
  const lastJob = loadState(chip);
  const slotBytes = chip.layout.secondary.bytes - chip.layout.sectorBytes;
  const refusal = judgeJob(job, {
    uid: chip.uid,
    vendorUuid,
    classUuid,
    securityCounter,
    slotBytes,
    ...(nowSeconds !== undefined && { nowSeconds }),
    ...(lastJob && { lastJob }),
  });
  if (refusal) return codes[refusal];
  const product = { line: '', vendorUuid: toHex(vendorUuid), classUuid: toHex(classUuid) };
  const firmware = { version: formatVersion(running.version), securityCounter, imageHash: toHex(running.imageHash) };
  const release = {
    ...product,
    status: 'PUBLISHED',
    version: formatVersion(job.version),
    securityCounter: job.securityCounter,
    imageHashes: [toHex(job.imageHash)],
  };
  // Only the signer of the job knows whether a large step of the counter was approved.
  const rules = {
    rollbackFloor: securityCounter,
    counterMaximum: maxSecurityCounter.application,
    counterJumpApproved: true,
    ...(job.downgradeApprovers && { downgradePermit: { approvers: job.downgradeApprovers } }),
  };
  return judgeOffer({ ...product, able: true, firmware }, release, rules);
}

/** Permits that come over the serial line: a job with the names of two people that is for this device, this image and this version. It is good for one
 *  installation, as the number of the job is kept then; the line gives the device no time, so that it cannot expire here. */
export function downgradePermits(context: StageContext): Permits {
  const { chip, boot } = context;
  return {
    async of({ permit, sizeBytes, version, securityCounter }) {
      const job = permit && boot.app && (await readJob(context, permit))?.job;
      if (job?.downgradeApprovers === undefined || boot.app === undefined) return undefined;
      const { otaJobId, sequence } = job;
      const last = loadState(chip);
      const isUsedUp = last !== undefined && last.phase === 'done' && equalBytes(last.otaJobId, otaJobId);
      const isSame = job.imageBytes === sizeBytes && compareVersion(job.version, version) === 0 && job.securityCounter === securityCounter;
      return isUsedUp || !isSame || refusalOf(context, boot.app, job) !== undefined ? undefined : { otaJobId, sequence };
    },
    useUp: permit => saveState(chip, permit, 'done'),
  };
}

/** The bootloader's verdict on what was written, before it is asked to start it. */
export function flawOf({ chip, boot }: StageContext, job: OtaJob): string | undefined {
  const { offset } = chip.layout.secondary;
  const floor = Math.max(chip.otp.counter('application'), boot.app?.securityCounter ?? 0);
  const verdict = verifyImage(chip.flash.read(offset, job.imageBytes), applicationPolicy(chip.bootDevice(), 'secondary', floor));
  if (!verdict.ok) return verdict.reason;
  return equalBytes(verdict.info.imageHash, job.imageHash) ? undefined : 'hash-mismatch';
}
