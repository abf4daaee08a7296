import { fromHex, utf8 } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import type { ImageKind } from '../../domain/jobEvents.ts';
import { type DefinedLine, layoutOf } from '../../domain/line.ts';
import { type ReleaseState, release, releaseContent, releaseStream, type UploadedRelease } from '../../domain/release.ts';
import { releaseVersion, releaseVersionStream } from '../../domain/releaseVersion.ts';
import type { Version } from '../../domain/version.ts';
import { NusecError } from '../../errors.ts';
import { prepareRelease } from '../../ota/prepare.ts';
import { type ReleasePage, type ReleaseRow, releaseQueries } from '../../projections/releases.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Context, execute, oneCommit, stateOf } from '../base/context.ts';
import { makeVariant, requireEncryptedEnough } from './encryptedFirmware.ts';
import { lineOf } from './lines.ts';

/** FW_STORE (R59, R60, R90): a release is the body of an image without any signature, named by its content. Every device gets a signature of
 *  its own; who signed the upload does not matter. */

export type FirmwareWish = {
  readonly line: string;
  readonly image: ImageKind;
  /** Needed for a raw binary; an MCUboot image has its own. */
  readonly version?: Version | undefined;
  readonly counter?: number | undefined;
  /** A UID binding and protected TLVs that are not known here may be dropped. */
  readonly drop?: boolean | undefined;
  /** The counter may be a larger step than the line's; the release's approver approves that too. */
  readonly counterJump?: boolean | undefined;
};

/** Stores firmware. The same upload gives the same release.
 *  @param upload raw binary or MCUboot image
 *  @throws NusecError NOT_FOUND (line), IMAGE_REFUSED with the bootloader's reason, WRONG_PRODUCT, ROLLBACK, COUNTER_EXHAUSTED, COUNTER_JUMP,
 *    CONFLICT (the version has other content), BAD_REQUEST */
export async function uploadRelease(ctx: Context, wish: FirmwareWish, upload: Uint8Array, by: Actor): Promise<StoredRelease> {
  const product = await lineOf(ctx, wish.line);
  const { body, digestHex, info } = prepareRelease(upload, {
    ...(wish.version !== undefined && { version: wish.version }),
    ...(wish.counter !== undefined && { securityCounter: wish.counter }),
    vendorUuid: fromHex(product.vendorUuid),
    classUuid: fromHex(product.classUuid),
    ...(wish.drop && { drop: true }),
  });
  if (wish.image === 'app') checkCounter(info.securityCounter, product.rollbackFloor, product.counterMaximum);
  checkFits(product, wish.image, body.length, info.headerBytes);
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['releases'] });
  const isJump = wish.image === 'app' && (await jumps(ctx, product, info.securityCounter));
  if (isJump && !wish.counterJump) {
    throw new NusecError(
      'COUNTER_JUMP',
      `the counter ${info.securityCounter} is a large step for this line; it needs your word and an approver's`,
    );
  }
  const bodySha256 = await ctx.blobs.put(body);
  const { encryption } = product;
  const encrypted = wish.image === 'app' && encryption !== undefined ? await makeVariant(ctx, body, encryption) : undefined;
  const releaseId = releaseIdOf(wish.line, wish.image, bodySha256);
  const twin = await releaseQueries(ctx.reads.db).byVersion(wish.line, wish.image, info.versionText);
  if (twin !== undefined && twin.release_id !== releaseId)
    throw new NusecError('CONFLICT', `${info.versionText} of this line has other content: release ${twin.release_id}`);
  const facts = {
    releaseId,
    line: wish.line,
    image: wish.image,
    version: info.versionText,
    securityCounter: info.securityCounter,
    vendorUuid: product.vendorUuid,
    classUuid: product.classUuid,
    bodySha256,
    imageHash: digestHex,
    size: body.length,
    uploadedBy: by,
    ...(isJump && { counterJump: true }),
    ...(encrypted !== undefined && { encrypted }),
  };
  // The read model may not have what is uploaded in this moment.
  const reserve = { type: 'ReserveReleaseVersion', version: info.versionText, releaseId } as const;
  const stored = await oneCommit(ctx, async inner => {
    await execute(inner, releaseVersion, releaseVersionStream(wish.line, wish.image, info.versionText), reserve, by);
    return change(inner, releaseId, { type: 'UploadFirmware', ...facts }, by);
  });
  const { keptUpload, added, dropped, replaced } = info;
  return { ...stored, upload: { kept: keptUpload, added: [...added], dropped: [...dropped], replaced: [...replaced] } };
}

/** What became of the upload: whether its hashed bytes are those of the release, which protected TLVs were added or dropped, and what it said otherwise. */
export type StoredRelease = UploadedRelease & {
  readonly upload: { readonly kept: boolean; readonly added: string[]; readonly dropped: string[]; readonly replaced: string[] };
};

/** Hash, key and signature of a device behind the body, at most. */
const deviceTrailerBytes = 256;
/** The same of an encrypted image: the padding of the payload, the UID, the wrapped content key. */
const encryptedTrailerBytes = 512;

/** What no device of the line could install is refused where it comes in. @throws NusecError IMAGE_REFUSED */
function checkFits(product: DefinedLine, image: ImageKind, bodyBytes: number, headerBytes: number): void {
  const { appSlotBytes, bl2SlotBytes, trailerBytes, headerAlignment } = layoutOf(product);
  const room = image === 'app' ? appSlotBytes - trailerBytes : bl2SlotBytes;
  const behind = image === 'app' && product.encryption !== undefined ? encryptedTrailerBytes : deviceTrailerBytes;
  if (bodyBytes + behind > room)
    throw new NusecError('IMAGE_REFUSED', `image-overlaps-trailer-or-too-large: ${bodyBytes} bytes, the slot has room for ${room}`);
  if (headerBytes % headerAlignment !== 0)
    throw new NusecError('IMAGE_REFUSED', `the header has ${headerBytes} bytes, the line wants a multiple of ${headerAlignment}`);
}

/** Whether the counter is a larger step than the line allows, from the highest one that is published: uploads that nobody has approved are no steps
 *  of a ladder. */
async function jumps(ctx: Context, product: DefinedLine, counter: number): Promise<boolean> {
  const highest = await releaseQueries(ctx.reads.db).highestCounter(product.line, 'app', 'PUBLISHED');
  return counter - Math.max(highest, product.rollbackFloor) > layoutOf(product).counterStep;
}

/** RULE-11. @throws NusecError ROLLBACK, COUNTER_EXHAUSTED */
export function checkCounter(counter: number, floor: number, maximum: number): void {
  if (counter < floor) throw new NusecError('ROLLBACK', `the counter ${counter} is below the line's floor ${floor}`);
  if (counter > maximum) throw new NusecError('COUNTER_EXHAUSTED', `the counter of this line ends at ${maximum}`);
}

/** By a person who had no part in it (I16). @throws NusecError FOUR_EYES_REQUIRED, RELEASE_STATE, CONFLICT (not what was seen) */
export async function approveRelease(ctx: Context, releaseId: string, by: Actor, approval?: Approval): Promise<UploadedRelease> {
  const { state } = await approve(
    ctx,
    {
      decider: release,
      stream: releaseStream(releaseId),
      content: async () => releaseContent(await releaseOf(ctx, releaseId)),
      command: content => ({ type: 'ApproveRelease' as const, by, content }),
    },
    by,
    approval,
  );
  return uploaded(state, releaseId);
}

/** What was approved, and nothing else. @throws NusecError RELEASE_STATE, FOUR_EYES_REQUIRED (it has changed since), ENCRYPTION_REQUIRED */
export async function publishRelease(ctx: Context, releaseId: string, by: Actor): Promise<UploadedRelease> {
  const known = await releaseOf(ctx, releaseId);
  if (known.image === 'app') requireEncryptedEnough((await lineOf(ctx, known.line)).encryption, known);
  const contentSha256 = sha256Hex(releaseContent(known));
  return change(ctx, releaseId, { type: 'PublishRelease', by, contentSha256 }, by);
}
export const withdrawRelease = (ctx: Context, releaseId: string, reason: string, by: Actor) =>
  change(ctx, releaseId, { type: 'WithdrawRelease', reason, by }, by);

async function change(ctx: Context, releaseId: string, command: Parameters<typeof release.decide>[0], by: Actor) {
  const { state } = await execute(ctx, release, releaseStream(releaseId), command, by);
  return uploaded(state, releaseId);
}

/** @throws NusecError NOT_FOUND */
export async function releaseOf(ctx: Context, releaseId: string): Promise<UploadedRelease> {
  return uploaded(await stateOf(ctx, release, releaseStream(releaseId)), releaseId);
}

function uploaded(state: ReleaseState, releaseId: string): UploadedRelease {
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no release ${releaseId}`);
  return state;
}

export async function listReleases(ctx: Context, page: ReleasePage): Promise<readonly ReleaseRow[]> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['releases'] });
  return releaseQueries(ctx.reads.db).page(page);
}

/** 32 hex digits, from what the release is. */
const releaseIdOf = (line: string, image: ImageKind, bodySha256: string): string =>
  sha256Hex(utf8(`${line} ${image} ${bodySha256}`)).slice(0, 32);
