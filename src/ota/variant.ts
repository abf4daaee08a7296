import { createHash } from 'node:crypto';
import { buildImage } from './build.ts';
import { cryptBody } from './decrypt.ts';
import { protectedArea, specOf } from './spec.ts';

/** The encrypted variant of a release: what all devices share, and what each has of its own in front of its trailer.
 *
 *      plain body          header ‖ payload ‖ protected TLVs
 *      encrypted variant   header with the flag ‖ payload, padded to 16 ‖ protected TLVs             shared
 *      bound to UIDs       header with the flag ‖ payload, padded to 16                              shared
 *                          protected TLVs with the UID                                               of one device */

export type Variant = {
  /** In clear: what production writes, and what the image hash is over. */
  readonly shared: Uint8Array;
  /** SHA-256 of `shared`: the image hash, unless images are bound to UIDs. */
  readonly sharedHash: Uint8Array;
  /** `shared` with its payload under this content key (16 or 32 bytes, as the bits say). */
  readonly encrypt: (cek: Uint8Array) => Uint8Array;
  /** @param uid 16 bytes */
  readonly ofDevice: (uid: Uint8Array) => DevicePart;
};

export type DevicePart = {
  /** Follows `shared`; empty unless images are bound to UIDs. */
  readonly area: Uint8Array;
  /** What the device signs for, and measures in the end. */
  readonly imageHash: Uint8Array;
};

/** Where images are bound to no UID. */
export const ofAnyDevice = (imageHash: Uint8Array): DevicePart => ({ area: new Uint8Array(0), imageHash });

const anyUid = new Uint8Array(16);

/** @param body  of the release: header ‖ payload ‖ protected TLVs, plain @throws NusecError IMAGE_REFUSED, IMAGE_MALFORMED */
export function encryptedVariant(body: Uint8Array, bits: 128 | 256, isUidBound: boolean): Variant {
  const spec = specOf(body);
  const image = buildImage({ ...spec, encryptionBits: bits, ...(isUidBound && { uidBinding: anyUid }) });
  const { header } = image;
  const shared = isUidBound ? image.body.slice(0, header.headerBytes + header.payloadBytes) : image.body;
  const digest = createHash('sha256').update(shared);
  const sharedHash = isUidBound ? new Uint8Array(digest.copy().digest()) : image.imageHash;
  return {
    shared,
    sharedHash,
    encrypt: cek => cryptBody(header, shared, cek),
    ofDevice: uid => {
      if (!isUidBound) return ofAnyDevice(sharedHash);
      const area = protectedArea({ ...spec, uidBinding: uid });
      return { area, imageHash: new Uint8Array(digest.copy().update(area).digest()) };
    },
  };
}
