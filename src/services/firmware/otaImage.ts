import { concat, fromBase64url, fromHex, toHex } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { deviceStream } from '../../domain/device.ts';
import type { Offer } from '../../domain/deviceEvents.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { jobLifetimeMs } from '../../domain/deviceUpgrade.ts';
import { type EncryptedVariant, variantFor } from '../../domain/encryption.ts';
import { layoutOf } from '../../domain/line.ts';
import { nextNumber } from '../../domain/numbers.ts';
import { imageHashesOf, release, releaseStream, type UploadedRelease } from '../../domain/release.ts';
import { rollout, rolloutStream } from '../../domain/rollout.ts';
import { compareVersions, parseVersion } from '../../domain/version.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { historyOf } from '../../eventstore/recorded.ts';
import { loadedOnce, lru } from '../../lru.ts';
import { bodyBlockHashes, type Delivery, deliveryBlockHashes } from '../../ota/blocks.ts';
import { deviceTrailer } from '../../ota/build.ts';
import { dependenciesOf, parseBody } from '../../ota/image.ts';
import { jobDigestOf, type OtaJob, signJob } from '../../ota/otaJob.ts';
import { ofAnyDevice, type Variant } from '../../ota/variant.ts';
import { type Seconds, secondsOf } from '../../times.ts';
import { authorityIn, signerFor } from '../authority/authority.ts';
import type { Alarms } from '../base/alarms.ts';
import type { Context } from '../base/context.ts';
import { contentKey, keyForDevice, variantOf } from './encryptedFirmware.ts';
import { lineIn } from './lines.ts';
import { storedFirmware } from './storedFirmware.ts';

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

const maxBodiesBytes = 64 * 1024 * 1024;

/** What is delivered to all devices of a release: the plain body, or the encrypted one. */
type Body = {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly blockHashes: Uint8Array;
  readonly ofDevice: Variant['ofDevice'];
  /** What the jobs of all devices say alike. */
  readonly terms: Pick<OtaJob, 'version' | 'securityCounter' | 'dependencies' | 'vendorUuid' | 'classUuid'>;
};

export type OtaImages = {
  /** Image hashes of a release on this device, hex: plain, and encrypted where there is such a variant. @throws NusecError BLOB_DAMAGED */
  hashesOn(uid: string, known: UploadedRelease): Promise<readonly string[]>;
  /** @param read that the offer was judged with: others' writes are not looked for again
   *  @throws NusecError RELEASE_STATE (withdrawn), ENCRYPTION_REQUIRED, KEY_NOT_FOUND, KEY_REFUSED (destroyed), BLOB_DAMAGED (T30: with an alarm) */
  prepare(read: Read, state: LivingDevice, offer: Offer): Promise<PreparedJob>;
};

export function createOtaImages(ctx: Context, alarms: Alarms): OtaImages {
  /** When a rollout begins, all of its devices ask for the same one. */
  const bodies = loadedOnce(lru<Body>(maxBodiesBytes, ({ bytes }) => bytes.length));

  const plainOf = ({ releaseId, bodySha256 }: UploadedRelease) => storedFirmware({ ctx, alarms }, releaseId, bodySha256);
  const readBodyOf = async (known: UploadedRelease, encrypted: EncryptedVariant | undefined, blockBytes: number): Promise<Body> => {
    const plain = await plainOf(known);
    const variant = encrypted && (await variantOf(known.bodySha256, encrypted, async () => plain));
    const bytes = variant && encrypted ? variant.encrypt(await contentKey(ctx, encrypted)) : plain;
    const same = ofAnyDevice(fromHex(known.imageHash));
    return {
      bytes,
      sha256: sha256Hex(bytes),
      blockHashes: bodyBlockHashes(bytes, blockBytes),
      ofDevice: variant?.ofDevice ?? (() => same),
      terms: {
        version: parseVersion(known.version),
        securityCounter: known.securityCounter,
        dependencies: dependenciesOf(parseBody(plain)) ?? [],
        vendorUuid: fromHex(known.vendorUuid),
        classUuid: fromHex(known.classUuid),
      },
    };
  };
  /** @param blockBytes of the line, which does not change */
  const bodyOf = (known: UploadedRelease, encrypted: EncryptedVariant | undefined, blockBytes: number): Promise<Body> =>
    bodies((encrypted ?? known).bodySha256, () => readBodyOf(known, encrypted, blockBytes));
  return {
    async hashesOn(uid, known) {
      if (known.encrypted?.uidBound !== true) return imageHashesOf(known);
      const { ofDevice } = await variantOf(known.bodySha256, known.encrypted, () => plainOf(known));
      return [known.imageHash, toHex(ofDevice(fromHex(uid)).imageHash)];
    },
    async prepare(read, state, offer) {
      const known = await read(release, releaseStream(offer.releaseId));
      if (known.status !== 'PUBLISHED') throw new NusecError('RELEASE_STATE', `release ${offer.releaseId} is ${known.status}`);
      const line = await lineIn(read, state.line);
      const [{ encryption }, { blockBytes }] = [line, layoutOf(line)];
      const kind = variantFor(encryption, known, state);
      if (kind === undefined) throw new NusecError('ENCRYPTION_REQUIRED', 'the line accepts encrypted images only');
      const encrypted = kind === 'encrypted' ? known.encrypted : undefined;
      const body = await bodyOf(known, encrypted, blockBytes);
      const uid = fromHex(state.uid);
      const own = body.ofDevice(uid);
      const encTlv = encrypted && (await keyForDevice(ctx, encrypted, encryption, state));
      const ofKeys = await trailerOf(ctx, state, own.imageHash, encTlv);
      const trailer = own.area.length === 0 ? ofKeys : concat(own.area, ofKeys);
      const delivery = { body: body.bytes, trailer, bodyHashes: body.blockHashes };
      const { sequence, expiresAtSeconds } = termsOf(offer) ?? (await termsOfBefore(ctx, state.uid, offer.offerId));
      const job: OtaJob = {
        ...body.terms,
        format: 1,
        otaJobId: fromHex(offer.offerId),
        uid,
        imageHash: own.imageHash,
        imageBytes: delivery.body.length + delivery.trailer.length,
        blockBytes,
        blockHashes: deliveryBlockHashes(delivery, blockBytes, body.blockHashes),
        expiresAtSeconds,
        sequence,
        ...(await permitOf(read, state, offer)),
      };
      const { kid, sign } = await signerFor(ctx, await authorityIn(read, ctx.project), 'otaJob');
      const signed = await signJob(job, kid, sign);
      return { offerId: offer.offerId, job, jobDigest: jobDigestOf(signed), signed, delivery, bodySha256: body.sha256 };
    },
  };
}

/** The device itself refuses an older version without the permit of the plan, which is given by its planner and its approver. */
async function permitOf(read: Read, { firmware }: LivingDevice, { rolloutId, version }: Offer): Promise<Partial<OtaJob>> {
  if (rolloutId === undefined || firmware === undefined || compareVersions(version, firmware.version) > 0) return {};
  const plan = await read(rollout, rolloutStream(rolloutId));
  if (plan.status === 'NONE' || plan.permitDowngrade !== true || plan.approvedBy === undefined) return {};
  return { downgradeApprovers: [plan.plannedBy, plan.approvedBy] };
}

async function trailerOf(ctx: Context, state: LivingDevice, imageHash: Uint8Array, encTlv: Uint8Array | undefined): Promise<Uint8Array> {
  const key = state.bootKeys.app;
  if (key === undefined) throw new NusecError('KEY_NOT_FOUND', 'the device has no application key');
  const signature = await ctx.bootKeys.sign(key.keyId, imageHash);
  // The one that was burned, as the log has it: the row of the custody store need not be proven once more.
  const publicKey = fromBase64url(key.publicKey);
  return deviceTrailer({ imageHash, publicKey, keyForm: 'whole', signature, ...(encTlv && { encTlv }) });
}

type Terms = { readonly sequence: number; readonly expiresAtSeconds: Seconds };

function termsOf({ jobSequence, jobExpiresAt }: Offer): Terms | undefined {
  if (jobSequence === undefined || jobExpiresAt === undefined) return undefined;
  return { sequence: jobSequence, expiresAtSeconds: secondsOf(Date.parse(jobExpiresAt)) };
}

/** Of an offer that an earlier version made: counted from its event. */
async function termsOfBefore(ctx: Context, uid: string, offerId: string): Promise<Terms> {
  const offers = await historyOf(ctx.store, deviceStream(uid), 'FirmwareOffered');
  const index = offers.findIndex(({ data }) => data.offerId === offerId);
  const offered = offers[index];
  if (offered === undefined) throw new NusecError('DEVICE_STATE', 'this offer was never made');
  const sequence = offers.slice(0, index + 1).reduce((before, { at }) => nextNumber(before, Date.parse(at)), 0);
  return { sequence, expiresAtSeconds: secondsOf(Date.parse(offered.at) + jobLifetimeMs) };
}
