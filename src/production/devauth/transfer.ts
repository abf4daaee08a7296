import { sha256 } from '../../digest.ts';
import type { DevAuthRequest } from './commands.ts';
import { devAuthMalformed } from './error.ts';
import type { DevAuthHost } from './host.ts';
import type { PutType } from './identity.ts';

/** What CBOR and the other fields need around the data of one PUT or FW_CHUNK. */
const overheadBytes = 64;

/** A message is repeated as a whole when one of its frames is damaged. With one damaged frame in a hundred, a piece of this size arrives at five of six
 *  attempts; one of 16 KiB at every other, and of a hundred images one would be silent six times in a row. */
const usualPieceBytes = 4096;

/** Data of one message to a device. @param maxBodyBytes as reported in HELLO */
export const pieceBytesFor = (maxBodyBytes: number): number => Math.min(usualPieceBytes, Math.max(1, maxBodyBytes - overheadBytes));

/** Sends a certificate, a registration id or the trust bundle, piece by piece.
 *  @throws as `DevAuthHost.request` */
export async function putObject(host: DevAuthHost, type: PutType, object: Uint8Array, pieceBytes: number): Promise<void> {
  for (let offset = 0; offset < object.length; offset += pieceBytes) {
    const data = object.subarray(offset, offset + pieceBytes);
    const hash = offset === 0 ? { sha256: sha256(object) } : {};
    const { nextOffset } = await host.request('put', { type, offset, totalBytes: object.length, data, ...hash });
    requireOffset(nextOffset, offset + data.length);
  }
}

export type FirmwareTransfer = Pick<DevAuthRequest<'fwBegin'>, 'image' | 'version' | 'securityCounter' | 'permit'> & {
  /** The whole image as it goes to flash. */
  readonly bytes: Uint8Array;
};

/** Between two looks at whether the image is still to come. */
const piecesPerLook = 16;

/** Sends an image from the device's position on and returns its signed receipt, not yet verified.
 *  @param look  may end the transfer by throwing: called every so many pieces, and before the device accepts the image for good
 *  @throws as `DevAuthHost.request`, and what `look` throws */
export async function sendFirmware(
  host: DevAuthHost,
  transfer: FirmwareTransfer,
  chunkBytes: number,
  look: (at: 'middle' | 'end') => Promise<void> = async () => {},
): Promise<Uint8Array> {
  const { bytes, ...about } = transfer;
  const hash = sha256(bytes);
  const { resumeOffset } = await host.request('fwBegin', { ...about, sizeBytes: bytes.length, sha256: hash });
  if (resumeOffset > bytes.length) throw devAuthMalformed('resume offset beyond the image');
  for (let [offset, pieces] = [resumeOffset, 1]; offset < bytes.length; offset += chunkBytes, pieces += 1) {
    const data = bytes.subarray(offset, offset + chunkBytes);
    const { nextOffset } = await host.request('fwChunk', { offset, data });
    requireOffset(nextOffset, offset + data.length);
    if (pieces % piecesPerLook === 0) await look('middle');
  }
  await look('end');
  return (await host.request('fwEnd', { sha256: hash })).receipt;
}

function requireOffset(told: number, expected: number): void {
  if (told !== expected) throw devAuthMalformed('the device stands at another offset');
}
