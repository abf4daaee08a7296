import type { Actor } from './actor.ts';
import { type ApprovedContent, contentOfApproval, requireApproved, requireNoContributor, withContributor } from './approval.ts';
import type { Component } from './component.ts';
import { contentText } from './contentText.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import type { EncryptedVariant } from './encryption.ts';
import type { ReleaseFacts } from './job.ts';
import type { ImageKind } from './jobEvents.ts';
import { refuse, requireCount } from './rules.ts';
import { parseVersion } from './version.ts';
import { statusAfter, type Walk } from './walk.ts';

/** A firmware release of one line, bootloader or application (R59, R90). Stream `release-{id}`.
 *  UPLOADED → APPROVED → PUBLISHED;  any → WITHDRAWN */

/** MCUboot keeps the counter in one bit per step: 255 for the application, 63 for the bootloader. */
const counterLimits: { readonly [Kind in ImageKind]: number } = { app: 255, bl2: 63 };

export type FirmwareUpload = {
  readonly releaseId: string;
  readonly line: string;
  readonly image: ImageKind;
  readonly version: string;
  readonly securityCounter: number;
  readonly vendorUuid: string;
  readonly classUuid: string;
  /** SHA-256 of the stored file: the name of the blob, checked on every read (T30). */
  readonly bodySha256: string;
  /** Image hash of the plain image; the encrypted variant has another one. Both are reference values. */
  readonly imageHash: string;
  readonly encrypted?: EncryptedVariant;
  readonly size: number;
  readonly uploadedBy: string;
  /** Its counter is a larger step than the line allows: the approver approves that too. */
  readonly counterJump?: boolean;
};

export type ReleaseEvent =
  | { readonly type: 'FirmwareUploaded'; readonly data: FirmwareUpload }
  | { readonly type: 'SbomAttached'; readonly data: { readonly sha256: string; readonly format: string; readonly by: Actor } }
  /** The line began to encrypt after the upload; the same firmware was uploaded again. */
  | { readonly type: 'EncryptedVariantAdded'; readonly data: { readonly encrypted: EncryptedVariant; readonly by: string } }
  /** A part of what the bill of materials names, for the read model: it follows `SbomAttached`, as often as there are parts. */
  | { readonly type: 'SbomComponentsListed'; readonly data: { readonly sha256: string; readonly components: readonly Component[] } }
  /** `contentSha256`: SHA-256 of the content (`releaseContent`) that was approved. */
  | { readonly type: 'ReleaseApproved'; readonly data: { readonly by: Actor; readonly contentSha256?: string } }
  | { readonly type: 'ReleasePublished'; readonly data: { readonly by: Actor } }
  | { readonly type: 'ReleaseWithdrawn'; readonly data: { readonly reason: string; readonly by: Actor } };

export type ReleaseCommand =
  | ({ readonly type: 'UploadFirmware' } & FirmwareUpload)
  | {
      readonly type: 'AttachSbom';
      readonly sha256: string;
      readonly format: string;
      readonly components: readonly Component[];
      readonly by: Actor;
    }
  | { readonly type: 'ApproveRelease'; readonly by: Actor; readonly content?: ApprovedContent }
  | { readonly type: 'PublishRelease'; readonly by: Actor; readonly contentSha256?: string }
  | { readonly type: 'WithdrawRelease'; readonly reason: string; readonly by: Actor };

export type ReleaseStatus = 'UPLOADED' | 'APPROVED' | 'PUBLISHED' | 'WITHDRAWN';

export const releaseWalk: Walk<ReleaseEvent, ReleaseStatus> = {
  ReleaseApproved: 'APPROVED',
  // What was approved had another bill of materials, or no encrypted variant.
  SbomAttached: before => (before === 'APPROVED' ? 'UPLOADED' : before),
  EncryptedVariantAdded: before => (before === 'APPROVED' ? 'UPLOADED' : before),
  ReleasePublished: 'PUBLISHED',
  ReleaseWithdrawn: 'WITHDRAWN',
};

export type UploadedRelease = FirmwareUpload & {
  readonly status: ReleaseStatus;
  readonly sbomSha256?: string;
  readonly sbomFormat?: string;
  /** Everybody who had a part in it: none of them approves it. */
  readonly contributors: readonly string[];
  readonly approvedBy?: string;
  readonly approvedSha256?: string;
};
export type ReleaseState = { readonly status: 'NONE' } | UploadedRelease;

export const releaseStream = (releaseId: string): string => `release-${releaseId}`;

/** What an approval approves, as one text. Equal texts are equal content. */
export function releaseContent(state: UploadedRelease): string {
  const { releaseId, line, image, version, securityCounter, vendorUuid, classUuid, bodySha256, imageHash, size } = state;
  const { encrypted = null, sbomSha256 = null, counterJump = false } = state;
  const product = [releaseId, line, image, version, securityCounter, vendorUuid, classUuid];
  return contentText([...product, bodySha256, imageHash, encrypted, size, sbomSha256, counterJump]);
}

/** What a job needs to know to bind this release. Units of a line with encryption get the variant with the flag from the start. */
export function releaseFacts(state: UploadedRelease): ReleaseFacts {
  const { releaseId, line, image, version, securityCounter, status, encrypted } = state;
  const { imageHash, bodySha256, size } = encrypted ?? state;
  const facts = { releaseId, line, image, version, securityCounter, imageHash, bodySha256, size, status };
  return encrypted?.uidBound ? { ...facts, uidBound: true } : facts;
}

/** The reference values of a release: plain and, if there is one, encrypted variant. An image that names its device has a hash of its own. */
export function imageHashesOf({ imageHash, encrypted }: Pick<FirmwareUpload, 'imageHash' | 'encrypted'>): readonly string[] {
  return encrypted === undefined || encrypted.uidBound ? [imageHash] : [imageHash, encrypted.imageHash];
}

function decide(command: ReleaseCommand, state: ReleaseState): readonly ReleaseEvent[] {
  if (command.type === 'UploadFirmware') return upload(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such release');
  switch (command.type) {
    case 'AttachSbom':
      return attachSbom(command, state);
    case 'ApproveRelease':
      return approve(command, state);
    case 'PublishRelease':
      if (state.status === 'PUBLISHED') return [];
      requireStatus(state, ['APPROVED'], 'publishing', 'RELEASE_STATE');
      requireApproved(state.approvedSha256, command.contentSha256);
      return [{ type: 'ReleasePublished', data: { by: command.by } }];
    case 'WithdrawRelease':
      if (state.status === 'WITHDRAWN') return [];
      return [{ type: 'ReleaseWithdrawn', data: { reason: command.reason, by: command.by } }];
  }
}

function upload({ type: _, ...data }: Of<ReleaseCommand, 'UploadFirmware'>, state: ReleaseState): readonly ReleaseEvent[] {
  if (state.status !== 'NONE') {
    const same = state.bodySha256 === data.bodySha256 && state.line === data.line && state.image === data.image;
    if (!same) refuse('CONFLICT', 'this release has other content');
    if (data.encrypted === undefined || state.encrypted !== undefined) return [];
    return [{ type: 'EncryptedVariantAdded', data: { encrypted: data.encrypted, by: data.uploadedBy } }];
  }
  parseVersion(data.version);
  requireCount(data.securityCounter, 0, 'the security counter');
  if (data.securityCounter > counterLimits[data.image]) {
    refuse('COUNTER_EXHAUSTED', `the ${data.image} counter ends at ${counterLimits[data.image]}`);
  }
  return [{ type: 'FirmwareUploaded', data }];
}

/** A look at other content is refused also when the release is approved already: the answer must not seem to approve what was seen. */
function approve({ by, content }: Of<ReleaseCommand, 'ApproveRelease'>, state: UploadedRelease): readonly ReleaseEvent[] {
  const approved = contentOfApproval(content, releaseContent(state));
  if (state.status === 'APPROVED' || state.status === 'PUBLISHED') return [];
  requireStatus(state, ['UPLOADED'], 'approving', 'RELEASE_STATE');
  requireNoContributor(state.contributors, by, 'approving the release');
  return [{ type: 'ReleaseApproved', data: { by, ...approved } }];
}

/** Components of one event: it stays well below what an event may be. */
const componentsOfEvent = 200;

/** Before the release is published it has to be approved again. Later too: what devices run already must be found by its components. */
function attachSbom({ sha256, format, components, by }: Of<ReleaseCommand, 'AttachSbom'>, state: UploadedRelease): readonly ReleaseEvent[] {
  if (state.sbomSha256 === sha256) return [];
  const parts = Array.from({ length: Math.ceil(components.length / componentsOfEvent) }, (_, i) =>
    components.slice(i * componentsOfEvent, (i + 1) * componentsOfEvent),
  );
  return [
    { type: 'SbomAttached', data: { sha256, format, by } },
    ...parts.map(part => ({ type: 'SbomComponentsListed', data: { sha256, components: part } }) as const),
  ];
}

function evolve(state: ReleaseState, event: ReleaseEvent): ReleaseState {
  if (event.type === 'FirmwareUploaded') return { ...event.data, status: 'UPLOADED', contributors: [event.data.uploadedBy] };
  if (state.status === 'NONE') return state;
  const after = { ...state, status: statusAfter(releaseWalk, state.status, event.type) };
  if (event.type === 'SbomAttached') {
    return { ...changed(after, event.data.by), sbomSha256: event.data.sha256, sbomFormat: event.data.format };
  }
  if (event.type === 'EncryptedVariantAdded') return { ...changed(after, event.data.by), encrypted: event.data.encrypted };
  if (event.type !== 'ReleaseApproved') return after;
  const { by: approvedBy, contentSha256 } = event.data;
  return { ...after, approvedBy, ...(contentSha256 !== undefined && { approvedSha256: contentSha256 }) };
}

/** By somebody who does not approve it from now on. */
function changed(state: UploadedRelease, by: string): UploadedRelease {
  const { approvedBy: _, approvedSha256: __, ...draft } = state;
  return { ...(state.status === 'UPLOADED' ? draft : state), contributors: withContributor(state.contributors, by) };
}

export const release: Decider<ReleaseCommand, ReleaseState, ReleaseEvent> = { initialState: { status: 'NONE' }, decide, evolve };
