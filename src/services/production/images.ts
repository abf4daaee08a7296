import { concat, fromBase64url, fromHex, toBase64url, toHex } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceBootKey, LivingDevice } from '../../domain/deviceState.ts';
import { grant, grantStream } from '../../domain/grant.ts';
import { job, jobStream } from '../../domain/job.ts';
import type { BoundFirmware, ImageKind } from '../../domain/jobEvents.ts';
import { release, releaseStream } from '../../domain/release.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { bootKeyId } from '../../keystore/bootKeys.ts';
import { deviceTrailer } from '../../ota/build.ts';
import { type DevicePart, ofAnyDevice } from '../../ota/variant.ts';
import { jobQueries } from '../../projections/jobs.ts';
import type { Parts } from '../base/alarms.ts';
import { always, type Condition, type Context, executeIf, reader, stateOf } from '../base/context.ts';
import { idBytesOf } from '../base/livingDevice.ts';
import { keyForDevice, variantOf } from '../firmware/encryptedFirmware.ts';
import { lineOf } from '../firmware/lines.ts';
import { storedFirmware } from '../firmware/storedFirmware.ts';
import { requireGivable } from './conditions.ts';
import { activeProgrammer } from './programmers.ts';
import type { UnitInWork } from './units.ts';

/** Images for units (R37–R39, R45–R48, RULE-8, RULE-12): the body is the same for a whole job and fetched once, the trailer with key and
 *  signature belongs to one chip. */

export type SignedImage = {
  /** SubjectPublicKeyInfo, 91 bytes. */
  readonly publicKey: Uint8Array;
  readonly bodySha256: string;
  readonly bodyBytes: number;
  readonly imageHash: string;
  readonly trailer: Uint8Array;
  readonly version: string;
  readonly securityCounter: number;
};

/** Never a second boot key for one chip and slot: the private half is made in the keystore and stays there (RULE-1, I5).
 *  @throws NusecError DEVICE_STATE */
export async function assignBootKey(
  ctx: Context,
  state: LivingDevice,
  slot: ImageKind,
  by: Actor,
  condition: Condition = always,
): Promise<DeviceBootKey> {
  const known = state.bootKeys[slot];
  if (known !== undefined) return known;
  const { uid, objId } = idBytesOf(state);
  const keyId = bootKeyId(uid, objId, slot);
  const publicKey = toBase64url(await ctx.bootKeys.ensure(keyId));
  const stream = deviceStream(state.uid);
  const { state: after } = await executeIf(ctx, condition, device, stream, { type: 'AssignBootKey', slot, keyId, publicKey }, by);
  const assigned = after.status === 'NONE' ? undefined : after.bootKeys[slot];
  if (assigned === undefined) throw new NusecError('DEVICE_STATE', 'the boot key was not assigned');
  return assigned;
}

/** With the bootloader the key is burned: a chip that could not get its application afterwards would be lost, so both are judged then.
 *  @throws as `requireGivable` */
async function firmwareFor(read: Read, unit: UnitInWork, image: ImageKind): Promise<BoundFirmware> {
  const bound = await requireGivable(read, unit.job, image);
  if (image === 'bl2') await requireGivable(read, unit.job, 'app');
  return bound;
}

/** Signs an image for one unit. The same unit gets the same bytes again. */
export async function signFor(parts: Parts, unit: UnitInWork, image: ImageKind, by: Actor): Promise<SignedImage> {
  const { ctx } = parts;
  const bound = await firmwareFor(reader(ctx), unit, image);
  const { bodySha256, size, version, securityCounter } = bound;
  const key = await assignBootKey(ctx, unit.device, image, by, unit.condition);
  const publicKey = fromBase64url(key.publicKey);
  const stream = grantStream(unit.grantId);
  const known = await stateOf(ctx, grant, stream);
  const made = known.status === 'SIGNED' ? known.trailers[image] : undefined;
  const own = await unitPart(parts, unit, bound);
  const imageHash = toHex(own.imageHash);
  const facts = { publicKey, bodySha256, bodyBytes: size, imageHash, version, securityCounter };
  if (made?.imageHash === imageHash) return { ...facts, trailer: await ctx.blobs.get(made.trailerSha256) };
  const signature = await ctx.bootKeys.sign(key.keyId, own.imageHash);
  const trailer = deviceTrailer({
    imageHash: own.imageHash,
    publicKey,
    keyForm: 'whole',
    signature,
    ...(own.encTlv && { encTlv: own.encTlv }),
  });
  const trailerSha256 = await ctx.blobs.put(concat(own.area, trailer));
  // Signed, but given out only if all this is still so.
  const stillSo: Condition = async read => {
    await unit.condition(read);
    await firmwareFor(read, unit, image);
  };
  const { state } = await executeIf(ctx, stillSo, grant, stream, { type: 'RecordTrailer', image, imageHash, trailerSha256 }, by);
  const recorded = state.status === 'SIGNED' ? state.trailers[image]?.trailerSha256 : undefined;
  return { ...facts, trailer: await ctx.blobs.get(recorded ?? trailerSha256) };
}

type UnitPart = DevicePart & { readonly encTlv?: Uint8Array };

/** What the image of this unit has of its own: with a line that encrypts the wrapped content key, so that the first upgrade can take the image out of
 *  the primary slot, and its UID where images are bound to it. @throws NusecError ENCRYPTION_REQUIRED (it has shown no encryption key) */
async function unitPart(parts: Parts, { job, device }: UnitInWork, bound: BoundFirmware): Promise<UnitPart> {
  const { ctx } = parts;
  const known = await stateOf(ctx, release, releaseStream(bound.releaseId));
  const encrypted = known.status === 'NONE' ? undefined : known.encrypted;
  if (known.status === 'NONE' || encrypted === undefined || bound.bodySha256 !== encrypted.bodySha256) {
    return ofAnyDevice(fromHex(bound.imageHash));
  }
  const { encryption } = await lineOf(ctx, job.line);
  const encTlv = await keyForDevice(ctx, encrypted, encryption, device);
  if (!encrypted.uidBound) return { ...ofAnyDevice(fromHex(bound.imageHash)), encTlv };
  const variant = await variantOf(known.bodySha256, encrypted, () => storedFirmware(parts, known.releaseId, known.bodySha256));
  return { ...variant.ofDevice(fromHex(device.uid)), encTlv };
}

/** The body of an image that is bound to a running job this programmer has a share of.
 *  @throws NusecError NOT_FOUND; BLOB_DAMAGED, BLOB_NOT_FOUND with an alarm (T30), PROGRAMMER_NOT_ACTIVE */
export async function imageBody(parts: Parts, programmer: string, sha256: string): Promise<Uint8Array> {
  await activeProgrammer(parts.ctx, programmer);
  const bound = await boundFor(parts.ctx, programmer, sha256);
  if (bound === undefined) throw new NusecError('NOT_FOUND', 'no job of this programmer has such an image');
  return storedFirmware(parts, bound.releaseId, sha256);
}

async function boundFor(ctx: Context, programmer: string, sha256: string): Promise<BoundFirmware | undefined> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['jobs'] });
  for (const { job_id, status } of await jobQueries(ctx.reads.db).allotmentsOf(programmer)) {
    if (status === 'CLOSED' || status === 'FROZEN') continue;
    const state = await stateOf(ctx, job, jobStream(job_id));
    const bound = state.status === 'RUNNING' ? [state.bl2, state.app].find(each => each?.bodySha256 === sha256) : undefined;
    if (bound !== undefined) return bound;
  }
  return undefined;
}
