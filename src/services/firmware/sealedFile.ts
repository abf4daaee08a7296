import type { Joined } from '../../keptMemory.ts';
import { blockTagBytes, sealedTogetherBytes } from '../../ota/blocks.ts';
import type { OtaJob } from '../../ota/otaJob.ts';
import type { Run } from './otaFiles.ts';

/** The sealed blocks of a job as one file, or a part of it. */

type Sealed = {
  readonly job: Pick<OtaJob, 'imageBytes' | 'blockBytes'>;
  /** Resolves with sealed blocks when it is their turn, or with nothing when nobody takes them any more.
   *  @throws when they may not be served any more: then the file breaks off */
  readonly run: (run: Run, gone: AbortSignal) => Promise<Joined | undefined>;
  /** Calls `release` when the chunk has gone out. */
  readonly whenSent: (chunk: Uint8Array, release: Joined['release']) => void;
};
/** Bytes of the file, from `first` to `last`, both in it. */
export type Span = { readonly first: number; readonly last: number };

/** Blocks are sealed as the device takes them, when it is their turn. @param ended called once, however it ends */
export function sealedFile({ job, run, whenSent }: Sealed, { first, last }: Span, ended: () => void): ReadableStream<Uint8Array> {
  const sealedBytes = job.blockBytes + blockTagBytes;
  const together = Math.max(1, Math.floor(sealedTogetherBytes / job.blockBytes));
  const behind = Math.floor(last / sealedBytes) + 1;
  let index = Math.floor(first / sealedBytes);
  const over = new AbortController();
  const end = (): void => {
    if (!over.signal.aborted) ended();
    over.abort();
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const count = Math.min(together, behind - index);
          const begin = index * sealedBytes;
          if (count > 0) {
            const bytes = Math.min(count * sealedBytes, last + 1 - begin);
            const sealed = await run({ first: index, count, bytes }, over.signal);
            if (over.signal.aborted || sealed === undefined) return sealed?.release();
            index += count;
            const chunk = sealed.bytes.subarray(Math.max(0, first - begin), last + 1 - begin);
            whenSent(chunk, sealed.release);
            return controller.enqueue(chunk);
          }
          end();
          controller.close();
        } catch (error) {
          end();
          controller.error(error);
        }
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
}
