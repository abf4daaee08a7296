import { randomInt } from 'node:crypto';
import { equalBytes, toHex } from '../../../src/bytes.ts';
import { type CodecType, decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { otaBlock, otaQuestion } from '../../../src/mqttMessages.ts';
import {
  blockArrived,
  blockRefused,
  hasBlock,
  isComplete,
  newBlockPlan,
  nextRequests,
  type PullRules,
} from '../../../src/ota/blockPlan.ts';
import { type BlockChannel, blockSecretBytes, blockSecretLabel, openBlock, openBlockChannel } from '../../../src/ota/blocks.ts';
import { blockCount, type SignedJob } from '../../../src/ota/otaJob.ts';
import { deriveExporterKey } from '../../../src/spdm/keySchedule.ts';
import type { NusecMqttClient } from '../../link/mqttClient.ts';
import type { SpdmChannel } from './spdmChannel.ts';

/** Pulling the blocks of a job: a window of requests, each block opened under the session key and compared with the signed job before it
 *  is written; only a wrong, lost or foreign block is requested again (T21). */

export const defaultPullRules: PullRules = { windowBlocks: 8, timeoutMs: 2_000, maxTries: 10 };

export type Pull = {
  readonly signed: SignedJob;
  /** Bitmap of blocks that are there already. */
  readonly have: Uint8Array;
  readonly write: (index: number, block: Uint8Array) => void;
  readonly rules: PullRules;
  readonly signal: AbortSignal;
};

type Wires = { readonly client: Pick<NusecMqttClient, 'on' | 'publish'>; readonly spdm: SpdmChannel };

/** @returns true when all blocks are there; false when a block did not come in time or the pull was ended */
export async function pullBlocks({ client, spdm }: Wires, { signed, have, write, rules, signal }: Pull): Promise<boolean> {
  const { job } = signed;
  let plan = newBlockPlan(blockCount(job), have);
  let wake = (): void => undefined;
  const take = ({ otaJobId, index, sealed }: CodecType<typeof otaBlock>): void => {
    if (!equalBytes(otaJobId, job.otaJobId) || hasBlock(plan, index)) return;
    const block = openWithAny(spdm, signed, index, sealed);
    if (block) write(index, block);
    plan = block ? blockArrived(plan, index) : blockRefused(plan, index);
    wake();
  };
  const end = client.on('ota', payload => {
    const reply = readReply(payload);
    if (reply && !signal.aborted) take(reply);
  });
  try {
    if (spdm.secrets().length === 0) await sleepUntil(rules.timeoutMs, signal, spdm.onSession);
    while (!isComplete(plan) && !signal.aborted) {
      const step = nextRequests(plan, performance.now(), rules);
      if (step.failed) return false;
      plan = step.plan;
      await ask(client, signed, step.runs);
      if (!isComplete(plan)) {
        await sleepUntil(rules.timeoutMs, signal, resume => {
          wake = resume;
        });
      }
    }
    return isComplete(plan);
  } finally {
    end();
  }
}

/** Lost requests count as tries; the next time-out sends them again. */
async function ask(client: Wires['client'], { job }: SignedJob, runs: readonly { first: number; count: number }[]): Promise<void> {
  for (const { first, count } of runs) {
    const payload = encodeAs(otaQuestion, { cid: randomInt(2 ** 32), first, count, blockBytes: job.blockBytes });
    await client.publish(`ota/${toHex(job.otaJobId)}`, payload, { qos: 0 }).catch(() => undefined);
  }
}

/** Blocks of a session that has just been replaced may still be on their way. */
export function openWithAny(spdm: SpdmChannel, signed: SignedJob, index: number, sealed: Uint8Array): Uint8Array | undefined {
  for (const secret of spdm.secrets()) {
    const block = openBlock(channelFor(secret, signed), index, sealed);
    if (block) return block;
  }
  return undefined;
}

function channelFor(secret: Parameters<typeof deriveExporterKey>[0], signed: SignedJob): BlockChannel {
  return openBlockChannel(deriveExporterKey(secret, blockSecretLabel, signed.job.otaJobId, blockSecretBytes), signed);
}

function readReply(payload: Uint8Array): CodecType<typeof otaBlock> | undefined {
  try {
    return decodeAs(otaBlock, payload);
  } catch {
    return undefined;
  }
}

export function sleepUntil(timeoutMs: number, signal: AbortSignal, onResume: (resume: () => void) => void): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, timeoutMs);
    signal.addEventListener('abort', done);
    onResume(done);
  });
}
