import { expect, it, vi } from 'vitest';
import { concat } from '../../../src/bytes.ts';
import { sealedBlockAt, sealedFileBytes } from '../../../src/ota/blocks.ts';
import type { Run } from '../../../src/services/firmware/otaFiles.ts';
import { sealedFile } from '../../../src/services/firmware/sealedFile.ts';
import { covers } from '../../support/covers.ts';

const job = { imageBytes: 300_000, blockBytes: 16_384 };
const whole = new Uint8Array(sealedFileBytes(job)).map((_, i) => i % 251);
const sealedRun = async ({ first, count }: Run) => {
  const bytes = whole.subarray(sealedBlockAt(job, first)[0], sealedBlockAt(job, first + count - 1)[1]);
  return { bytes, release: vi.fn() };
};
const whenSent = (): void => undefined;
const read = async (stream: ReadableStream<Uint8Array>) => {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return concat(...parts);
};

it('asks for what it sends, run after run, and ends once (R88)', async () => {
  covers('R88');
  const [run, ended] = [vi.fn(sealedRun), vi.fn()];
  const [first, last] = [17, whole.length - 5];
  expect(await read(sealedFile({ job, run, whenSent }, { first, last }, ended))).toEqual(whole.subarray(first, last + 1));
  const asked = run.mock.calls.reduce((sum, [{ bytes }]) => sum + bytes, 0);
  expect(asked).toBeGreaterThanOrEqual(last + 1 - first);
  expect(ended).toHaveBeenCalledTimes(1);
});

it('ends once when nobody takes it any more while it waits for its turn', async () => {
  const ended = vi.fn();
  const run = vi.fn(
    (_run: Run, gone: AbortSignal) => new Promise<undefined>(resolve => gone.addEventListener('abort', () => resolve(undefined))),
  );
  const reader = sealedFile({ job, run, whenSent }, { first: 0, last: whole.length - 1 }, ended).getReader();
  const part = reader.read();
  await new Promise(setImmediate);
  await reader.cancel();
  expect((await part).done).toBe(true);
  await new Promise(setImmediate);
  expect([ended.mock.calls.length, run.mock.calls.length]).toEqual([1, 1]);
});

it('gives the memory of a run back that came when nobody took it any more', async () => {
  const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<typeof sealedRun>>>();
  const late = await sealedRun({ first: 0, count: 4, bytes: 0 });
  const reader = sealedFile({ job, run: () => promise, whenSent }, { first: 0, last: whole.length - 1 }, () => undefined).getReader();
  const part = reader.read();
  await new Promise(setImmediate);
  await reader.cancel();
  resolve(late);
  expect((await part).done).toBe(true);
  await new Promise(setImmediate);
  expect(late.release).toHaveBeenCalledTimes(1);
});
