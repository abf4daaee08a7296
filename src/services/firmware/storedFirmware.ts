import { releaseStream } from '../../domain/release.ts';
import { isContentLost } from '../../eventstore/blobs.ts';
import type { Parts } from '../base/alarms.ts';

/** T30: the one way to read firmware. The store checks it against its hash on every read; what is lost, or is not what was uploaded, is never served,
 *  and an operator gets to know which release it is of.
 *  @param sha256 of the body that is wanted, plain or encrypted @throws NusecError BLOB_DAMAGED, BLOB_NOT_FOUND */
export async function storedFirmware({ ctx, alarms }: Parts, releaseId: string, sha256: string): Promise<Uint8Array> {
  try {
    return await ctx.blobs.get(sha256);
  } catch (error) {
    if (isContentLost(error))
      await alarms.raise({
        code: 'FIRMWARE_DAMAGED',
        subject: releaseStream(releaseId),
        detail: `stored firmware ${sha256} is not what was uploaded: ${error.message}`,
      });
    throw error;
  }
}
