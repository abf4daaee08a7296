import { expect, it, vi } from 'vitest';
import { concat } from '../../../src/bytes.ts';
import { type SealedBlock, sealedBlockAt, sealedFileBytes } from '../../../src/ota/blocks.ts';
import { sealedFile } from '../../../src/services/firmware/sealedFile.ts';
import { covers } from '../../support/covers.ts';

const job = { imageBytes: 300_000, blockBytes: 16_384 };
const whole = new Uint8Array(sealedFileBytes(job)).map((_, i) => i % 251);
const seal = (index: number): SealedBlock => [whole.subarray(...sealedBlockAt(job, index)), new Uint8Array(0)];
const whenSent = (): void => undefined;
const read = async (stream: ReadableStream<Uint8Array>) => {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return concat(...parts);
};

it('asks for its turn for what it sends, and seals nothing before (R88)', async () => {
  covers('R88');
  const [turns, ended] = [vi.fn(async (_bytes: number) => {}), vi.fn()];
  const [first, last] = [17, whole.length - 5];
  const sealed = { job, turn: turns, seal: vi.fn(seal), whenSent };
  expect(await read(sealedFile(sealed, { first, last }, ended))).toEqual(whole.subarray(first, last + 1));
  const asked = turns.mock.calls.reduce((sum, [bytes]) => sum + bytes, 0);
  expect(asked).toBeGreaterThanOrEqual(last + 1 - first);
  expect(ended).toHaveBeenCalledTimes(1);

  const { promise, resolve } = Promise.withResolvers<void>();
  const held = { job, turn: () => promise, seal: vi.fn(seal), whenSent };
  const reader = sealedFile(held, { first, last }, ended).getReader();
  const part = reader.read();
  await new Promise(setImmediate);
  expect(held.seal).not.toHaveBeenCalled();
  resolve();
  expect((await part).value?.length).toBeGreaterThan(0);
});

it('ends once when nobody takes it any more while it waits for its turn', async () => {
  const [ended, sealing] = [vi.fn(), vi.fn(seal)];
  const turn = (_bytes: number, gone: AbortSignal) => new Promise<void>(resolve => gone.addEventListener('abort', () => resolve()));
  const reader = sealedFile({ job, turn, seal: sealing, whenSent }, { first: 0, last: whole.length - 1 }, ended).getReader();
  const part = reader.read();
  await reader.cancel();
  expect((await part).done).toBe(true);
  await new Promise(setImmediate);
  expect([ended.mock.calls.length, sealing.mock.calls.length]).toEqual([1, 0]);
});
