import { concat } from '../../bytes.ts';
import { sealedBlockAt, sealedTogetherBytes } from '../../ota/blocks.ts';
import { blockCount, type OtaJob } from '../../ota/otaJob.ts';

/** The sealed blocks of a job as one file, or a part of it. */

type Sealed = {
  readonly job: Pick<OtaJob, 'imageBytes' | 'blockBytes'>;
  /** Resolves when so many bytes may go out, or nobody takes them any more. */
  readonly turn: (bytes: number, gone: AbortSignal) => Promise<void>;
  /** Block of this index, with its tag. @throws when it may not be served any more: then the file breaks off */
  readonly seal: (index: number) => Uint8Array;
};
/** Bytes of the file, from `first` to `last`, both in it. */
export type Span = { readonly first: number; readonly last: number };

/** Blocks are sealed as the device takes them, when it is their turn. @param ended called once, however it ends */
export function sealedFile({ job, turn, seal }: Sealed, { first, last }: Span, ended: () => void): ReadableStream<Uint8Array> {
  const [, sealedBytes] = sealedBlockAt(job, 0);
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
          const [begin] = sealedBlockAt(job, index);
          if (begin <= last) await turn(Math.min(sealedTogetherBytes, last + 1 - begin), over.signal);
          if (over.signal.aborted) return;
          const parts: Uint8Array[] = [];
          for (let bytes = 0; bytes === 0 || bytes + sealedBytes <= sealedTogetherBytes; index += 1) {
            const [start] = sealedBlockAt(job, index);
            if (start > last || index >= blockCount(job)) break;
            const part = seal(index).subarray(Math.max(0, first - start), last + 1 - start);
            parts.push(part);
            bytes += part.length;
          }
          if (parts.length > 0) return controller.enqueue(concat(...parts));
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
