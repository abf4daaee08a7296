import { concat, fromBase64url, fromHex, toHex } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { deviceStream } from '../../domain/device.ts';
import type { Offer } from '../../domain/deviceEvents.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { type EncryptedVariant, variantFor } from '../../domain/encryption.ts';
import { imageHashesOf, release, releaseStream, type UploadedRelease } from '../../domain/release.ts';
import { rollout, rolloutStream } from '../../domain/rollout.ts';
import { compareVersions, parseVersion } from '../../domain/version.ts';
import { NusecError } from '../../errors.ts';
import { historyOf } from '../../eventstore/recorded.ts';
import { lru } from '../../lru.ts';
import { bodyBlockHashes, type Delivery, deliveryBlockHashes } from '../../ota/blocks.ts';
import { deviceTrailer } from '../../ota/build.ts';
import { dependenciesOf, parseBody } from '../../ota/image.ts';
import { jobDigestOf, type OtaJob, signJob } from '../../ota/otaJob.ts';
import { ofAnyDevice, type Variant } from '../../ota/variant.ts';
import { daySeconds, type Seconds, secondsOf } from '../../times.ts';
import { authorityOf, signerFor } from '../authority/authority.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, stateOf } from '../base/context.ts';
import { nextNumber } from '../base/numbers.ts';
import { contentKey, keyForDevice, variantOf } from './encryptedFirmware.ts';
import { lineOf } from './lines.ts';

/** From a standing offer to what is delivered: the release's body, shared by all, a trailer signed by this device's own boot key (R93, RULE-12),
 *  and the signed job that names every block. */

export type PreparedJob = {
  readonly offerId: string;
  readonly job: OtaJob;
  readonly jobDigest: Uint8Array;
  /** COSE_Sign1 */
  readonly signed: Uint8Array;
  readonly delivery: Delivery;
  /** Of the body that is delivered, hex: the same for all devices of a release. */
  readonly bodySha256: string;
};

/** Large enough to move firmware fast; a device holds one block at a time (docs/upgrades.md). */
const otaBlockBytes = 16 * 1024;
/** How long a job may be executed after its offer. */
const otaJobLifetimeDays = 30;
const maxBodiesBytes = 64 * 1024 * 1024;

/** What is delivered to all devices of a release: the plain body, or the encrypted one. */
type Body = {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly blockHashes: Uint8Array;
  readonly dependencies: OtaJob['dependencies'];
  readonly ofDevice: Variant['ofDevice'];
};

export type OtaImages = {
  /** Image hashes of a release on this device, hex: plain, and encrypted where there is such a variant. @throws NusecError BLOB_DAMAGED */
  hashesOn(uid: string, known: UploadedRelease): Promise<readonly string[]>;
  /** @throws NusecError RELEASE_STATE (withdrawn), ENCRYPTION_REQUIRED, KEY_NOT_FOUND, KEY_REFUSED (destroyed), BLOB_DAMAGED (T30: with an alarm) */
  prepare(state: LivingDevice, offer: Offer): Promise<PreparedJob>;
};

export function createOtaImages(ctx: Context, alarms: Alarms): OtaImages {
  const bodies = lru<Body>(maxBodiesBytes, ({ bytes }) => bytes.length);

  const bodyOf = async (known: UploadedRelease, encrypted: EncryptedVariant | undefined): Promise<Body> => {
    const name = `${known.bodySha256}/${encrypted?.bodySha256 ?? 'plain'}`;
    const ready = bodies.get(name);
    if (ready !== undefined) return ready;
    const plain = await readBody(ctx, alarms, known.releaseId, known.bodySha256);
    const variant = encrypted && variantOf(plain, encrypted);
    const bytes = variant && encrypted ? variant.encrypt(await contentKey(ctx, encrypted)) : plain;
    const same = ofAnyDevice(fromHex(known.imageHash));
    const body = {
      bytes,
      sha256: sha256Hex(bytes),
      blockHashes: bodyBlockHashes(bytes, otaBlockBytes),
      dependencies: dependenciesOf(parseBody(plain)) ?? [],
      ofDevice: variant?.ofDevice ?? (() => same),
    };
    bodies.set(name, body);
    return body;
  };
  return {
    async hashesOn(uid, known) {
      if (known.encrypted?.uidBound !== true) return imageHashesOf(known);
      const { ofDevice } = await bodyOf(known, known.encrypted);
      return [known.imageHash, toHex(ofDevice(fromHex(uid)).imageHash)];
    },
    async prepare(state, offer) {
      const known = await stateOf(ctx, release, releaseStream(offer.releaseId));
      if (known.status !== 'PUBLISHED') throw new NusecError('RELEASE_STATE', `release ${offer.releaseId} is ${known.status}`);
      const { encryption } = await lineOf(ctx, state.line);
      const kind = variantFor(encryption, known, state);
      if (kind === undefined) throw new NusecError('ENCRYPTION_REQUIRED', 'the line accepts encrypted images only');
      const encrypted = kind === 'encrypted' ? known.encrypted : undefined;
      const body = await bodyOf(known, encrypted);
      const own = body.ofDevice(fromHex(state.uid));
      const encTlv = encrypted && (await keyForDevice(ctx, encrypted, encryption, state));
      const delivery = { body: body.bytes, trailer: concat(own.area, await trailerOf(ctx, state, own.imageHash, encTlv)) };
      const { sequence, expiresAtSeconds } = await offerFacts(ctx, state.uid, offer.offerId);
      const job: OtaJob = {
        format: 1,
        otaJobId: fromHex(offer.offerId),
        uid: fromHex(state.uid),
        imageHash: own.imageHash,
        imageBytes: delivery.body.length + delivery.trailer.length,
        version: parseVersion(known.version),
        securityCounter: known.securityCounter,
        blockBytes: otaBlockBytes,
        blockHashes: deliveryBlockHashes(delivery, otaBlockBytes, body.blockHashes),
        expiresAtSeconds,
        sequence,
        dependencies: body.dependencies,
        vendorUuid: fromHex(known.vendorUuid),
        classUuid: fromHex(known.classUuid),
        ...(await permitOf(ctx, state, offer)),
      };
      const { kid, sign } = await signerFor(ctx, await authorityOf(ctx), 'otaJob');
      const signed = await signJob(job, kid, sign);
      return { offerId: offer.offerId, job, jobDigest: jobDigestOf(signed), signed, delivery, bodySha256: body.sha256 };
    },
  };
}

/** The device itself refuses an older version without the permit of the plan, which is given by its planner and its approver. */
async function permitOf(ctx: Context, { firmware }: LivingDevice, { rolloutId, version }: Offer): Promise<Partial<OtaJob>> {
  if (rolloutId === undefined || firmware === undefined || compareVersions(version, firmware.version) > 0) return {};
  const plan = await stateOf(ctx, rollout, rolloutStream(rolloutId));
  if (plan.status === 'NONE' || plan.permitDowngrade !== true || plan.approvedBy === undefined) return {};
  return { downgradeApprovers: [plan.plannedBy, plan.approvedBy] };
}

/** T30: the store checks the content against its hash on every read; what does not match is never served. */
async function readBody(ctx: Context, alarms: Alarms, releaseId: string, bodySha256: string): Promise<Uint8Array> {
  try {
    return await ctx.blobs.get(bodySha256);
  } catch (error) {
    if (error instanceof NusecError && error.code === 'BLOB_DAMAGED')
      await alarms.raise({ code: 'FIRMWARE_DAMAGED', subject: releaseId, detail: `stored firmware ${bodySha256} was changed` });
    throw error;
  }
}

async function trailerOf(ctx: Context, state: LivingDevice, imageHash: Uint8Array, encTlv: Uint8Array | undefined): Promise<Uint8Array> {
  const key = state.bootKeys.app;
  if (key === undefined) throw new NusecError('KEY_NOT_FOUND', 'the device has no application key');
  const signature = await ctx.bootKeys.sign(key.keyId, imageHash);
  // The one that was burned, as the log has it: the row of the custody store need not be proven once more.
  const publicKey = fromBase64url(key.publicKey);
  return deviceTrailer({ imageHash, publicKey, keyForm: 'whole', signature, ...(encTlv && { encTlv }) });
}

/** The sequence rises from offer to offer of a device, also when an older store was put back; the job expires counted from the offer. */
async function offerFacts(
  ctx: Context,
  uid: string,
  offerId: string,
): Promise<{ readonly sequence: number; readonly expiresAtSeconds: Seconds }> {
  const offers = await historyOf(ctx.store, deviceStream(uid), 'FirmwareOffered');
  const index = offers.findIndex(({ data }) => data.offerId === offerId);
  const offered = offers[index];
  if (offered === undefined) throw new NusecError('DEVICE_STATE', 'this offer was never made');
  const sequence = offers.slice(0, index + 1).reduce((before, { at }) => nextNumber(before, Date.parse(at)), 0);
  return { sequence, expiresAtSeconds: secondsOf(Date.parse(offered.at)) + otaJobLifetimeDays * daySeconds };
}
