import { giveBack, type Joined, joinInKept } from '../../keptMemory.ts';
import { blockTagBytes, type SealedBlock, sealedTogetherBytes } from '../../ota/blocks.ts';
import type { OtaJob } from '../../ota/otaJob.ts';

/** The sealed blocks of a job as one file, or a part of it. */

type Sealed = {
  readonly job: Pick<OtaJob, 'imageBytes' | 'blockBytes'>;
  /** Resolves when so many bytes may go out, or nobody takes them any more. */
  readonly turn: (bytes: number, gone: AbortSignal) => Promise<void>;
  /** Block of this index, with its tag. @throws when it may not be served any more: then the file breaks off */
  readonly seal: (index: number) => SealedBlock;
  /** Calls `release` when the chunk has gone out. */
  readonly whenSent: (chunk: Uint8Array, release: Joined['release']) => void;
};
/** Bytes of the file, from `first` to `last`, both in it. */
export type Span = { readonly first: number; readonly last: number };

/** Blocks are sealed as the device takes them, when it is their turn. @param ended called once, however it ends */
export function sealedFile({ job, turn, seal, whenSent }: Sealed, { first, last }: Span, ended: () => void): ReadableStream<Uint8Array> {
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
          if (count > 0) await turn(Math.min(count * sealedBytes, last + 1 - begin), over.signal);
          if (over.signal.aborted) return;
          if (count > 0) {
            const blocks = Array.from({ length: count }, (_, i) => seal(index + i));
            index += count;
            const { bytes, release } = joinInKept(blocks.flat());
            for (const [ciphertext] of blocks) giveBack(ciphertext);
            const chunk = bytes.subarray(Math.max(0, first - begin), last + 1 - begin);
            whenSent(chunk, release);
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
