import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { equalBytes, toHex } from '../../../src/bytes.ts';
import { type CodecType, decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { formatVersion } from '../../../src/domain/version.ts';
import { type JobStatusMessage, jobMessage, jobStatusMessage } from '../../../src/mqttMessages.ts';
import type { PullRules } from '../../../src/ota/blockPlan.ts';
import type { OtaJob, SignedJob } from '../../../src/ota/otaJob.ts';
import type { Seconds } from '../../../src/times.ts';
import type { StageContext } from '../../chip/board.ts';
import { eraseRegion } from '../../chip/flash.ts';
import { confirmImage, markPending } from '../../chip/slotTrailer.ts';
import type { NusecMqttClient } from '../../link/mqttClient.ts';
import { flawOf, readJob, refusalOf } from './judgement.ts';
import { blocksInSlot, forgetJob, loadJob, loadState, prepareSlot, saveState, writeBlock } from './otaStore.ts';
import { type Pull, pullBlocks } from './pull.ts';
import type { SpdmChannel } from './spdmChannel.ts';

/** Installing what a signed job names (R90–R95): judged by the device itself (T12, I9), pulled, verified as the bootloader would, started as
 *  a test, confirmed when the server is reached again, and reported at each step. */

export type InstallerOptions = {
  readonly rules: PullRules;
  readonly nowSeconds: () => Seconds;
  /** Wait after a pull that failed, before the server is asked again. */
  readonly retryMs: number;
};

export type Installer = {
  /** To be called on each connection, after hello. */
  readonly online: () => Promise<void>;
  readonly stop: () => void;
};

type Wires = {
  readonly client: Pick<NusecMqttClient, 'on' | 'publish' | 'request'>;
  readonly spdm: SpdmChannel;
  /** Fetches blocks by HTTPS; what it does not bring comes by MQTT. */
  readonly fetchBlocks?: ((pull: Pull) => Promise<void>) | undefined;
};
type Status = JobStatusMessage['status'];

const nextQuestion = { up: 'job/next', down: 'job', fields: new Map() } as const;
/** Of jobMessage. */
const jobField = 1;

export function createInstaller(context: StageContext, wires: Wires, options: InstallerOptions): Installer {
  const { chip, boot, tell, resetLater } = context;
  const { client } = wires;
  const running = boot.app;
  const ending = new AbortController();
  let isSettled = false;
  let current: Uint8Array | undefined;
  let pulling = new AbortController();
  let installing: Promise<void> = Promise.resolve();
  let turn: Promise<void> = Promise.resolve();

  const report = async (job: Pick<OtaJob, 'otaJobId' | 'version'>, status: Status, reason?: string): Promise<void> => {
    const message = { cid: randomInt(2 ** 32), status, version: formatVersion(job.version), ...(reason && { reason }) };
    await client.publish(`job/${toHex(job.otaJobId)}`, encodeAs(jobStatusMessage, message)).catch(() => undefined);
  };
  const refuse = async (job: OtaJob, status: 'failed' | 'refused', code: string): Promise<void> => {
    tell({ event: 'refused', what: 'job', code, version: formatVersion(job.version) });
    await report(job, status, code);
  };

  /** The first connection of a new image is its self-test; after that the result of the last installation is reported. */
  const settle = async (): Promise<void> => {
    if (isSettled || !running) return;
    const state = loadState(chip);
    const kept = loadJob(chip);
    const job = kept && (await readJob(context, kept))?.job;
    if (!boot.confirmed) {
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

  const install = async (bytes: Uint8Array, signed: SignedJob, signal: AbortSignal): Promise<void> => {
    const { job } = signed;
    const kept = loadJob(chip);
    prepareSlot(chip, bytes, job, kept && (await readJob(context, kept))?.job);
    await report(job, 'downloading');
    const write = (index: number, block: Uint8Array): void => writeBlock(chip, job, index, block);
    const pull = { signed, have: blocksInSlot(chip, job), write, rules: options.rules, signal };
    await wires.fetchBlocks?.(pull);
    const isWhole = await pullBlocks(wires, { ...pull, have: blocksInSlot(chip, job) });
    chip.sync();
    if (isWhole && (await finish(bytes, signed))) return;
    if (signal.aborted) return;
    current = undefined;
    await sleep(options.retryMs, undefined, { signal }).catch(() => undefined);
    if (!signal.aborted) await askNext();
  };

  /** A job that ended badly here is not tried again; a new one may name the same image. */
  const hasFailed = (job: OtaJob): boolean => {
    const state = loadState(chip);
    return state?.phase === 'failed' && equalBytes(state.otaJobId, job.otaJobId);
  };

  /** The last look before the point of no return: the server says the same job again, or the installation waits. */
  const stands = async (bytes: Uint8Array): Promise<boolean> => {
    const answer = await client.request(nextQuestion).catch(() => undefined);
    const job = answer?.get(jobField);
    return job instanceof Uint8Array && equalBytes(job, bytes);
  };

  /** @returns false when the installation waits */
  const finish = async (bytes: Uint8Array, { job }: SignedJob): Promise<boolean> => {
    const flaw = flawOf(context, job);
    if (flaw) {
      eraseRegion(chip.flash, chip.layout.secondary);
      saveState(chip, job, 'failed');
      await refuse(job, 'failed', flaw);
      return true;
    }
    await report(job, 'written');
    if (!(await stands(bytes))) return false;
    markPending(chip.flash, chip.layout);
    saveState(chip, job, 'written');
    tell({ event: 'written', version: formatVersion(job.version) });
    await report(job, 'testing');
    resetLater('normal');
    return true;
  };

  /** A valid job replaces the current one, because the server signs a new job for each session. */
  const take = async (bytes: Uint8Array): Promise<void> => {
    if (ending.signal.aborted || (current && equalBytes(current, bytes))) return;
    const signed = await readJob(context, bytes);
    if (!signed) return tell({ event: 'refused', what: 'job', code: 'COSE_SIGNATURE' });
    const { job } = signed;
    const refusal = running && refusalOf(context, running, job, options.nowSeconds());
    if (refusal === 'ALREADY') return tell({ event: 'already', version: formatVersion(job.version) });
    if (refusal) return refuse(job, 'refused', refusal);
    if (hasFailed(job)) return refuse(job, 'failed', 'failed-before');
    pulling.abort();
    await installing;
    if (ending.signal.aborted) return;
    pulling = new AbortController();
    current = bytes;
    installing = install(bytes, signed, AbortSignal.any([ending.signal, pulling.signal])).catch(tellFault);
  };
  /** There is no job now: what is under way waits. A job that was cancelled is forgotten, unless its image runs already. */
  const yieldTo = async (cancelled: Uint8Array | undefined): Promise<void> => {
    pulling.abort();
    await installing;
    current = undefined;
    const state = loadState(chip);
    if (!cancelled || !state || state.phase !== 'downloading' || !equalBytes(state.otaJobId, cancelled)) return;
    forgetJob(chip);
    tell({ event: 'cancelled' });
  };
  const tellFault = (error: unknown): void => tell({ event: 'fault', text: error instanceof Error ? error.message : 'unknown' });
  const askNext = async (): Promise<void> => {
    await client.request(nextQuestion).catch(() => undefined);
  };
  client.on('job', payload => {
    const message = messageIn(payload);
    if (message) turn = turn.then(() => (message.job ? take(message.job) : yieldTo(message.cancelled))).catch(tellFault);
  });
  return {
    online: async () => {
      await settle();
      if (isSettled) await askNext();
    },
    stop: () => ending.abort(),
  };
}

function messageIn(payload: Uint8Array): CodecType<typeof jobMessage> | undefined {
  try {
    return decodeAs(jobMessage, payload);
  } catch {
    return undefined;
  }
}
