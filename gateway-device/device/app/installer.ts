import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { equalBytes, toHex } from '../../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { judgeOffer } from '../../../src/domain/offer.ts';
import { formatVersion } from '../../../src/domain/version.ts';
import { NusecError } from '../../../src/errors.ts';
import type { PullRules } from '../../../src/ota/blockPlan.ts';
import { jobDown, type jobStatuses, jobStatusUp } from '../../../src/ota/deviceMessages.ts';
import { judgeJob, type OtaJob, type SignedJob, verifyJob } from '../../../src/ota/job.ts';
import { verifyImage } from '../../../src/ota/verify.ts';
import { maxSecurityCounter } from '../../../src/production/otpMap.ts';
import { packageKeysOf } from '../../../src/production/trustBundle.ts';
import type { NusecMqttClient } from '../../mqttClient.ts';
import type { StageContext } from '../board.ts';
import { applicationPolicy, type BootedImage } from '../bootloader.ts';
import { eraseRegion } from '../flash.ts';
import { trustBundleOf } from '../orders.ts';
import { confirmImage, markPending } from '../slotTrailer.ts';
import { blocksInSlot, loadJob, loadState, prepareSlot, saveState, writeBlock } from './otaStore.ts';
import { pullBlocks } from './pull.ts';
import type { SpdmChannel } from './spdmChannel.ts';

/** Installing what a signed job names (R90–R95): judged by the device itself (T12, I9), pulled, verified as the bootloader would, started as
 *  a test, confirmed when the server is reached again, and reported at each step. */

export type InstallerOptions = {
  readonly rules: PullRules;
  readonly nowSeconds: () => number;
  /** Wait after a pull that failed, before the server is asked again. */
  readonly retryMs: number;
};

export type Installer = {
  /** To be called on each connection, after hello. */
  readonly online: () => Promise<void>;
  readonly stop: () => void;
};

type Wires = { readonly client: Pick<NusecMqttClient, 'on' | 'publish' | 'request'>; readonly spdm: SpdmChannel };
type Status = keyof typeof jobStatuses;

export function createInstaller(context: StageContext, wires: Wires, options: InstallerOptions): Installer {
  const { chip, boot, tell, resetLater } = context;
  const { client } = wires;
  const running = boot.app;
  const ending = new AbortController();
  let isSettled = false;
  let current: Uint8Array | undefined;

  const report = async (job: Pick<OtaJob, 'jobId' | 'version'>, status: Status, reason?: string): Promise<void> => {
    const message = { cid: randomInt(2 ** 32), status, version: formatVersion(job.version), ...(reason && { reason }) };
    await client.publish(`job/${toHex(job.jobId)}`, encodeAs(jobStatusUp, message)).catch(() => undefined);
  };
  const refuse = async (job: OtaJob, status: 'failed' | 'refused', code: string): Promise<void> => {
    tell({ event: 'refused', what: 'job', code, version: formatVersion(job.version) });
    await report(job, status, code);
  };

  /** The first connection of a new image is its self-test; then the result of the last installation is told. */
  const settle = async (): Promise<void> => {
    if (isSettled || !running) return;
    const state = loadState(chip);
    const kept = loadJob(chip);
    const job = kept && (await readJob(context, kept))?.job;
    if (!boot.confirmed) {
      if (job) await report(job, 'testing');
      confirmImage(chip.flash, chip.layout);
      chip.sync();
      tell({ event: 'confirmed', version: formatVersion(running.version) });
      return resetLater('normal');
    }
    isSettled = true;
    if (state?.phase !== 'written' || !job) return;
    const isRunning = equalBytes(job.imageHash, running.imageHash);
    saveState(chip, state, isRunning ? 'done' : 'failed');
    if (isRunning) return tell({ event: 'installed', version: formatVersion(running.version) });
    await refuse(job, 'failed', boot.refused ?? 'reverted');
  };

  const install = async (bytes: Uint8Array): Promise<void> => {
    const signed = await readJob(context, bytes);
    if (!signed) return tell({ event: 'refused', what: 'job', code: 'COSE_SIGNATURE' });
    const { job } = signed;
    const refusal = running && refusalOf(context, running, job, options.nowSeconds());
    if (refusal === 'ALREADY') return tell({ event: 'already', version: formatVersion(job.version) });
    if (refusal) return refuse(job, 'refused', refusal);
    if (hasFailed(job)) return refuse(job, 'failed', 'reverted');
    const kept = loadJob(chip);
    prepareSlot(chip, bytes, job, kept && (await readJob(context, kept))?.job);
    await report(job, 'downloading');
    const pull = {
      signed,
      have: blocksInSlot(chip, job),
      write: (index: number, block: Uint8Array) => writeBlock(chip, job, index, block),
      rules: options.rules,
      signal: ending.signal,
    };
    const isWhole = await pullBlocks(wires, pull);
    chip.sync();
    if (isWhole) return finish(signed);
    current = undefined;
    await sleep(options.retryMs, undefined, { signal: ending.signal }).catch(() => undefined);
    if (!ending.signal.aborted) await askNext();
  };

  /** A job that ended badly here is not tried again; a new one may name the same image. */
  const hasFailed = (job: OtaJob): boolean => {
    const state = loadState(chip);
    return state?.phase === 'failed' && equalBytes(state.jobId, job.jobId);
  };

  const finish = async ({ job }: SignedJob): Promise<void> => {
    const flaw = flawOf(context, job);
    if (flaw) {
      eraseRegion(chip.flash, chip.layout.secondary);
      saveState(chip, job, 'failed');
      return refuse(job, 'failed', flaw);
    }
    markPending(chip.flash, chip.layout);
    saveState(chip, job, 'written');
    tell({ event: 'written', version: formatVersion(job.version) });
    await report(job, 'written');
    resetLater('normal');
  };

  const take = (bytes: Uint8Array): void => {
    if (ending.signal.aborted || (current && equalBytes(current, bytes))) return;
    if (current) return;
    current = bytes;
    install(bytes)
      .catch(error => tell({ event: 'fault', text: error instanceof Error ? error.message : 'unknown' }))
      .finally(() => {
        if (current === bytes) current = undefined;
      });
  };
  const askNext = async (): Promise<void> => {
    await client.request({ up: 'job/next', down: 'job', fields: new Map() }).catch(() => undefined);
  };
  client.on('job', payload => {
    const job = jobIn(payload);
    if (job) take(job);
  });
  return {
    online: async () => {
      await settle();
      if (isSettled) await askNext();
    },
    stop: () => ending.abort(),
  };
}

function jobIn(payload: Uint8Array): Uint8Array | undefined {
  try {
    return decodeAs(jobDown, payload).job ?? undefined;
  } catch {
    return undefined;
  }
}

/** @returns undefined when no key of the trust bundle signed it */
async function readJob({ chip }: StageContext, signed: Uint8Array): Promise<SignedJob | undefined> {
  try {
    return await verifyJob(signed, packageKeysOf(await trustBundleOf(chip)));
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
function refusalOf({ chip }: StageContext, running: BootedImage, job: OtaJob, now: number): string | undefined {
  const { vendorUuid = job.vendorUuid, classUuid = job.classUuid } = chip.bootDevice().config;
  const securityCounter = Math.max(running.securityCounter, chip.otp.counter('application'));
  const lastJob = loadState(chip);
  const slotBytes = chip.layout.secondary.bytes - chip.layout.sectorBytes;
  const refusal = judgeJob(job, { uid: chip.uid, vendorUuid, classUuid, securityCounter, slotBytes, now, ...(lastJob && { lastJob }) });
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
  // Whether a large step of the counter was approved is known to whoever signed the job.
  const rules = { rollbackFloor: securityCounter, counterMaximum: maxSecurityCounter.application, counterJumpApproved: true };
  return judgeOffer({ ...product, able: true, firmware }, release, rules);
}

/** The bootloader's verdict on what was written, before it is asked to start it. */
function flawOf({ chip, boot }: StageContext, job: OtaJob): string | undefined {
  const { offset } = chip.layout.secondary;
  const floor = Math.max(chip.otp.counter('application'), boot.app?.securityCounter ?? 0);
  const verdict = verifyImage(chip.flash.read(offset, job.imageBytes), applicationPolicy(chip.bootDevice(), 'secondary', floor));
  if (!verdict.ok) return verdict.reason;
  return equalBytes(verdict.info.imageHash, job.imageHash) ? undefined : 'hash-mismatch';
}
