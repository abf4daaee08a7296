import { equalBytes, toHex } from '../bytes.ts';
import { formatVersion, type Version } from '../domain/version.ts';
import { NusecError } from '../errors.ts';
import { buildImage, referenceHash } from './build.ts';
import { type Dependency, dependenciesOf, isMcubootImage, parseBody, securityCounterOf } from './image.ts';
import { type ImageSpec, maxPayloadBytes, specOf } from './spec.ts';
import { findTlv, tlvType } from './tlv.ts';
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
  /** What cannot be kept of an upload may be dropped: a UID binding, and protected TLVs that are not known here. */
  readonly drop?: boolean;
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
  /** Protected TLVs of the upload that are not in the release, and those that were put into it, such as `0x74`. */
  readonly dropped: readonly string[];
  readonly added: readonly string[];
  /** What the upload said and the release says otherwise, because the caller did: `version 1.2.0`, `security counter 6` … */
  readonly replaced: readonly string[];
};

export type PreparedRelease = { readonly body: Uint8Array; readonly digestHex: string; readonly info: ReleaseInfo };

/** Largest upload: a payload of the largest size with header, TLV areas and a swap trailer around it. */
const maxUploadBytes = maxPayloadBytes + 512 * 1024;

/** A Cortex-M reads its stack pointer and its reset vector from the start of an image (Armv8-M Architecture Reference Manual, vector table). */
const minPayloadBytes = 8;

/** @returns body = header ‖ payload ‖ protected TLVs without any signature, digestHex = its SHA-256 = the image hash of every device
 *  @throws NusecError WRONG_PRODUCT (it names another vendor or class), IMAGE_REFUSED (the bootloader's reason for a broken MCUboot image; what is
 *    missing, does not fit, or would be dropped) */
export function prepareRelease(upload: Uint8Array, wish: ReleaseWish): PreparedRelease {
  if (upload.length > maxUploadBytes) throw new NusecError('IMAGE_REFUSED', `an upload has at most ${maxUploadBytes} bytes`);
  const uploaded = isMcubootImage(upload) ? reopenImage(upload) : undefined;
  if (uploaded) checkProduct(uploaded, wish);
  const found = uploaded ? specOf(uploaded) : { payload: upload };
  const spec = specFor(found, wish);
  if (spec.payload.length < minPayloadBytes)
    throw new NusecError('IMAGE_REFUSED', `a payload of ${spec.payload.length} bytes has no vector table: nothing could start it`);
  const rebuilt = buildImage(spec);
  const kept = uploaded !== undefined && equalBytes(buildImage(specOf(uploaded)).imageHash, rebuilt.imageHash);
  const body = kept ? uploaded : rebuilt.body;
  const [before, after] = [typesIn(uploaded), typesIn(body)];
  const dropped = before.filter(type => !after.includes(type));
  const unasked = dropped.filter(type => !rewritten.has(type));
  if (unasked.length > 0 && wish.drop !== true) {
    throw new NusecError('IMAGE_REFUSED', `would be dropped, and dropping needs your word: TLV ${unasked.map(nameOf).join(', ')}`);
  }
  const added = after.filter(type => !before.includes(type));
  const replaced = uploaded === undefined ? [] : replacedIn(uploaded, body);
  const info = { ...releaseInfo(body, kept), dropped: dropped.map(nameOf), added: added.map(nameOf), replaced };
  return { body, digestHex: toHex(referenceHash(body)), info };
}

/** A boot record of another version says nothing about this one. */
const rewritten: ReadonlySet<number> = new Set([tlvType.bootRecord]);
const typesIn = (body: Uint8Array | undefined): readonly number[] =>
  body === undefined ? [] : [...new Set(parseBody(body).protectedTlvs.map(({ type }) => type))];
const nameOf = (type: number): string => (type === tlvType.uidBinding ? 'uid-binding' : `0x${type.toString(16).padStart(2, '0')}`);

/** Values of the upload, by name, that the release has otherwise. */
function replacedIn(uploaded: Uint8Array, body: Uint8Array): readonly string[] {
  const after = new Set(saidIn(body));
  return saidIn(uploaded).filter(said => !after.has(said));
}

function saidIn(body: Uint8Array): readonly string[] {
  const { header, protectedTlvs } = parseBody(body);
  const counter = securityCounterOf({ protectedTlvs });
  return [
    `version ${formatVersion(header.version)}`,
    ...(counter === undefined ? [] : [`security counter ${counter}`]),
    ...(dependenciesOf({ protectedTlvs }) ?? []).map(({ imageId, minVersion }) => `image ${imageId} from ${formatVersion(minVersion)} on`),
    `load address 0x${header.loadAddress.toString(16)}`,
    `header of ${header.headerBytes} bytes`,
  ];
}

/** An image that names another vendor or class is for another product (T13). @throws NusecError WRONG_PRODUCT */
function checkProduct(body: Uint8Array, { vendorUuid, classUuid }: ReleaseWish): void {
  const { protectedTlvs } = parseBody(body);
  const isOther = (type: number, own: Uint8Array): boolean => !equalBytes(findTlv(protectedTlvs, type) ?? own, own);
  if (isOther(tlvType.vendorUuid, vendorUuid)) throw new NusecError('WRONG_PRODUCT', 'the image names another vendor');
  if (isOther(tlvType.classUuid, classUuid)) throw new NusecError('WRONG_PRODUCT', 'the image names another product class');
}

/** Strips the signature trailer from an uploaded image. Who signed it does not matter: every device gets a signature of its own.
 *  @returns its body in clear @throws NusecError IMAGE_REFUSED with the bootloader's reason; encrypted images are refused, as nobody
 *    here could open them */
export function reopenImage(upload: Uint8Array): Uint8Array {
  const verdict = verifyImage(upload, { signature: { algorithm: 'none' }, slotBytes: upload.length });
  if (!verdict.ok) throw new NusecError('IMAGE_REFUSED', verdict.unsupported ?? verdict.reason);
  return verdict.info.body.slice();
}

/** Takes what the upload says and puts the wish and the line over it. A UID binding is not kept: the body is for all devices. */
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

function releaseInfo(body: Uint8Array, keptUpload: boolean): Omit<ReleaseInfo, 'added' | 'dropped' | 'replaced'> {
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
