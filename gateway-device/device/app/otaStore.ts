import { equalBytes } from '../../../src/bytes.ts';
import { type CodecType, decodeAs, encodeAs, field, oneOf, record, uint } from '../../../src/cbor/schema.ts';
import { isBlock } from '../../../src/ota/blocks.ts';
import { blockCount, type OtaJob } from '../../../src/ota/otaJob.ts';
import { id16 } from '../../../src/production/fields.ts';
import type { Chip } from '../../chip/chip.ts';
import { eraseRegion } from '../../chip/flash.ts';

/** What an installation leaves in flash, so that it resumes after a restart: the signed job, its phase, and the blocks themselves. Which
 *  blocks are there is not written down: the job names their hashes. */

const jobName = 'otaJob';
const stateName = 'otaState';

const state = record({
  otaJobId: field(1, id16),
  /** Of the newest job that was taken: an older one is refused, also after this one is done. */
  sequence: field(2, uint()),
  phase: field(3, oneOf({ downloading: 1, written: 2, done: 3, failed: 4 })),
});
export type OtaState = CodecType<typeof state>;

export function loadState(chip: Chip): OtaState | undefined {
  const kept = chip.data.get(stateName);
  return kept && decodeAs(state, kept);
}

export const loadJob = (chip: Chip): Uint8Array | undefined => chip.data.get(jobName);

export function saveState(chip: Chip, job: Pick<OtaJob, 'otaJobId' | 'sequence'>, phase: OtaState['phase']): void {
  chip.data.put(stateName, encodeAs(state, { otaJobId: job.otaJobId, sequence: job.sequence, phase }));
  if (phase === 'done' || phase === 'failed') chip.data.remove(jobName);
  chip.sync();
}

/** Of a job that was cancelled nothing stays but its number, so that it cannot be played again. */
export function forgetJob(chip: Chip): void {
  eraseRegion(chip.flash, chip.layout.secondary);
  const kept = loadState(chip);
  if (kept) saveState(chip, kept, 'failed');
}

/** Makes room for a job. A newly signed job for the same image keeps the blocks that are already stored. */
export function prepareSlot(chip: Chip, signed: Uint8Array, job: OtaJob, before: OtaJob | undefined): void {
  const isSameImage = before !== undefined && before.blockBytes === job.blockBytes && equalBytes(before.imageHash, job.imageHash);
  if (!isSameImage) eraseRegion(chip.flash, chip.layout.secondary);
  else if (!equalBytes(before.blockHashes, job.blockHashes)) eraseOtherBlocks(chip, job);
  chip.data.put(jobName, signed);
  saveState(chip, job, 'downloading');
}

/** Erases the sectors that hold no whole block of the job. */
function eraseOtherBlocks(chip: Chip, job: OtaJob): void {
  const { secondary, sectorBytes } = chip.layout;
  const have = blocksInSlot(chip, job);
  for (let at = 0; at < secondary.bytes; at += sectorBytes) {
    const first = Math.floor(at / job.blockBytes);
    const last = Math.floor((at + sectorBytes - 1) / job.blockBytes);
    const isWhole = Array.from({ length: last - first + 1 }, (_, n) => first + n).every(index => isSet(have, index));
    if (!isWhole) chip.flash.eraseSector(secondary.offset + at);
  }
}

const isSet = (bitmap: Uint8Array, index: number): boolean => (((bitmap[index >> 3] ?? 0) >> (index & 7)) & 1) === 1;

/** Bit n = block n is whole in the slot. */
export function blocksInSlot(chip: Chip, job: OtaJob): Uint8Array {
  const have = new Uint8Array(Math.ceil(blockCount(job) / 8));
  for (let index = 0; index < blockCount(job); index += 1) {
    if (isBlock(job, index, readBlock(chip, job, index))) have[index >> 3] = (have[index >> 3] ?? 0) | (1 << (index & 7));
  }
  return have;
}

function readBlock(chip: Chip, job: OtaJob, index: number): Uint8Array {
  const start = index * job.blockBytes;
  return chip.flash.read(chip.layout.secondary.offset + start, Math.min(job.blockBytes, job.imageBytes - start));
}

export const writeBlock = (chip: Chip, job: OtaJob, index: number, block: Uint8Array): void =>
  chip.flash.program(chip.layout.secondary.offset + index * job.blockBytes, block);
