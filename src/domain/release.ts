import type { Actor } from './actor.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import type { ImageKind, ReleaseFacts } from './job.ts';
import { refuse, requireCount, requireOtherPerson } from './rules.ts';
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
  /** Image hash of the plain image; of the encrypted variant when there is one. Both are reference values. */
  readonly imageHash: string;
  readonly encryptedImageHash?: string;
  readonly size: number;
  readonly uploadedBy: string;
  /** Its counter is a larger step than the line's: whoever approves it stands for that too. */
  readonly counterJump?: boolean;
};

export type ReleaseEvent =
  | { readonly type: 'FirmwareUploaded'; readonly data: FirmwareUpload }
  | { readonly type: 'SbomAttached'; readonly data: { readonly sha256: string; readonly format: string; readonly by: Actor } }
  | { readonly type: 'ReleaseApproved'; readonly data: { readonly by: Actor } }
  | { readonly type: 'ReleasePublished'; readonly data: { readonly by: Actor } }
  | { readonly type: 'ReleaseWithdrawn'; readonly data: { readonly reason: string; readonly by: Actor } };

export type ReleaseCommand =
  | ({ readonly type: 'UploadFirmware' } & FirmwareUpload)
  | { readonly type: 'AttachSbom'; readonly sha256: string; readonly format: string; readonly by: Actor }
  | { readonly type: 'ApproveRelease'; readonly by: Actor }
  | { readonly type: 'PublishRelease'; readonly by: Actor }
  | { readonly type: 'WithdrawRelease'; readonly reason: string; readonly by: Actor };

export type ReleaseStatus = 'UPLOADED' | 'APPROVED' | 'PUBLISHED' | 'WITHDRAWN';

export const releaseWalk: Walk<ReleaseEvent, ReleaseStatus> = {
  ReleaseApproved: 'APPROVED',
  ReleasePublished: 'PUBLISHED',
  ReleaseWithdrawn: 'WITHDRAWN',
};

export type UploadedRelease = FirmwareUpload & {
  readonly status: ReleaseStatus;
  readonly sbomSha256?: string;
  readonly approvedBy?: string;
};
export type ReleaseState = { readonly status: 'NONE' } | UploadedRelease;

export const releaseStream = (releaseId: string): string => `release-${releaseId}`;

/** What a job needs to know to bind this release. */
export function releaseFacts(state: UploadedRelease): ReleaseFacts {
  const { releaseId, line, image, version, securityCounter, imageHash, bodySha256, size, status } = state;
  return { releaseId, line, image, version, securityCounter, imageHash, bodySha256, size, status };
}

/** The reference values of a release: plain and, if there is one, encrypted variant. */
export function imageHashesOf({ imageHash, encryptedImageHash }: FirmwareUpload): readonly string[] {
  return encryptedImageHash === undefined ? [imageHash] : [imageHash, encryptedImageHash];
}

function decide(command: ReleaseCommand, state: ReleaseState): readonly ReleaseEvent[] {
  if (command.type === 'UploadFirmware') return upload(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such release');
  switch (command.type) {
    case 'AttachSbom':
      return attachSbom(command, state);
    case 'ApproveRelease':
      if (state.status === 'APPROVED' || state.status === 'PUBLISHED') return [];
      requireStatus(state, ['UPLOADED'], 'approving', 'RELEASE_STATE');
      requireOtherPerson(state.uploadedBy, command.by, 'approving the release');
      return [{ type: 'ReleaseApproved', data: { by: command.by } }];
    case 'PublishRelease':
      if (state.status === 'PUBLISHED') return [];
      requireStatus(state, ['APPROVED'], 'publishing', 'RELEASE_STATE');
      return [{ type: 'ReleasePublished', data: { by: command.by } }];
    case 'WithdrawRelease':
      if (state.status === 'WITHDRAWN') return [];
      return [{ type: 'ReleaseWithdrawn', data: { reason: command.reason, by: command.by } }];
  }
}

function upload({ type: _, ...data }: Of<ReleaseCommand, 'UploadFirmware'>, state: ReleaseState): readonly ReleaseEvent[] {
  if (state.status !== 'NONE') {
    const same = state.bodySha256 === data.bodySha256 && state.line === data.line && state.image === data.image;
    return same ? [] : refuse('CONFLICT', 'this release has other content');
  }
  parseVersion(data.version);
  requireCount(data.securityCounter, 0, 'the security counter');
  if (data.securityCounter > counterLimits[data.image]) {
    refuse('COUNTER_EXHAUSTED', `the ${data.image} counter ends at ${counterLimits[data.image]}`);
  }
  return [{ type: 'FirmwareUploaded', data }];
}

function attachSbom({ sha256, format, by }: Of<ReleaseCommand, 'AttachSbom'>, state: UploadedRelease): readonly ReleaseEvent[] {
  if (state.sbomSha256 === sha256) return [];
  if (state.status === 'WITHDRAWN') refuse('RELEASE_STATE', 'the release is withdrawn');
  return [{ type: 'SbomAttached', data: { sha256, format, by } }];
}

function evolve(state: ReleaseState, event: ReleaseEvent): ReleaseState {
  if (event.type === 'FirmwareUploaded') return { ...event.data, status: 'UPLOADED' };
  if (state.status === 'NONE') return state;
  const after = { ...state, status: statusAfter(releaseWalk, state.status, event.type) };
  if (event.type === 'SbomAttached') return { ...after, sbomSha256: event.data.sha256 };
  return event.type === 'ReleaseApproved' ? { ...after, approvedBy: event.data.by } : after;
}

export const release: Decider<ReleaseCommand, ReleaseState, ReleaseEvent> = { initialState: { status: 'NONE' }, decide, evolve };
