import { equalBytes, toHex } from '../bytes.ts';
import { formatVersion, type Version } from '../domain/version.ts';
import { NusecError } from '../errors.ts';
import { buildImage, referenceHash } from './build.ts';
import { type Dependency, dependenciesOf, isMcubootImage, parseBody, securityCounterOf } from './image.ts';
import { type ImageSpec, maxPayloadBytes, specOf } from './spec.ts';
import { verifyImage } from './verify.ts';

/** From an upload (a raw binary or a signed MCUboot image) to the body of a release, ready to be signed per device (R59, R60, R90, R93). */

export type ReleaseWish = {
  /** Needed for a raw binary; for an MCUboot image its own values hold unless given here. */
  readonly version?: Version;
  readonly securityCounter?: number;
  /** The product line's, 16 bytes each: always in the image (T13). */
  readonly vendorUuid: Uint8Array;
  readonly classUuid: Uint8Array;
  /** Flash address the image was built for; sets ROM_FIXED. */
  readonly loadAddress?: number;
  readonly headerBytes?: number;
  readonly dependencies?: readonly Dependency[];
};

export type ReleaseInfo = {
  readonly version: Version;
  readonly versionText: string;
  readonly securityCounter: number;
  readonly payloadBytes: number;
  readonly headerBytes: number;
  readonly dependencies: readonly Dependency[];
  /** True when the upload's hashed bytes were kept as they are. */
  readonly keptUpload: boolean;
};

export type PreparedRelease = { readonly body: Uint8Array; readonly digestHex: string; readonly info: ReleaseInfo };

/** Largest upload: a payload of the largest size with header, TLV areas and a swap trailer around it. */
const maxUploadBytes = maxPayloadBytes + 512 * 1024;

/** @returns body = header ‖ payload ‖ protected TLVs without any signature, digestHex = its SHA-256 = the image hash of every device
 *  @throws NusecError IMAGE_REFUSED (the bootloader's reason for a broken MCUboot image; what is missing or does not fit otherwise) */
export function prepareRelease(upload: Uint8Array, wish: ReleaseWish): PreparedRelease {
  if (upload.length > maxUploadBytes) throw new NusecError('IMAGE_REFUSED', `an upload has at most ${maxUploadBytes} bytes`);
  const uploaded = isMcubootImage(upload) ? reopenImage(upload) : undefined;
  const found = uploaded ? specOf(uploaded) : { payload: upload };
  const spec = specFor(found, wish);
  const rebuilt = buildImage(spec);
  const kept = uploaded !== undefined && equalBytes(buildImage(specOf(uploaded)).imageHash, rebuilt.imageHash);
  const body = kept ? uploaded : rebuilt.body;
  return { body, digestHex: toHex(referenceHash(body)), info: releaseInfo(body, kept) };
}

/** Strips the signature trailer from an uploaded image. Who signed it does not matter: every device gets a signature of its own.
 *  @returns its body in clear @throws NusecError IMAGE_REFUSED with the bootloader's reason; encrypted images are refused, as nobody
 *    here could open them */
export function reopenImage(upload: Uint8Array): Uint8Array {
  const verdict = verifyImage(upload, { signature: { algorithm: 'none' }, slotBytes: upload.length });
  if (!verdict.ok) throw new NusecError('IMAGE_REFUSED', verdict.reason);
  return verdict.info.body.slice();
}

/** Takes what the upload says and puts the wish and the line over it. A UID binding is dropped, a boot record of another version too. */
function specFor(found: Partial<ImageSpec> & { payload: Uint8Array }, wish: ReleaseWish): ImageSpec {
  const version = wish.version ?? found.version;
  const securityCounter = wish.securityCounter ?? found.securityCounter;
  if (!version || securityCounter === undefined) throw new NusecError('IMAGE_REFUSED', 'version and security counter are needed');
  const { uidBinding: _, bootRecord, ramAddress, romAddress, ...rest } = found;
  const sameVersion = found.version !== undefined && formatVersion(found.version) === formatVersion(version);
  const address = wish.loadAddress ?? romAddress;
  return {
    ...rest,
    version,
    securityCounter,
    vendorUuid: wish.vendorUuid,
    classUuid: wish.classUuid,
    ...(bootRecord && sameVersion && { bootRecord }),
    ...(address !== undefined ? { romAddress: address } : ramAddress !== undefined && { ramAddress }),
    ...(wish.headerBytes !== undefined && { headerBytes: wish.headerBytes }),
    ...(wish.dependencies && { dependencies: wish.dependencies }),
  };
}

function releaseInfo(body: Uint8Array, keptUpload: boolean): ReleaseInfo {
  const { header, payload, protectedTlvs } = parseBody(body);
  return {
    version: header.version,
    versionText: formatVersion(header.version),
    securityCounter: securityCounterOf({ protectedTlvs }) ?? 0,
    payloadBytes: payload.length,
    headerBytes: header.headerBytes,
    dependencies: dependenciesOf({ protectedTlvs }) ?? [],
    keptUpload,
  };
}
