import { dayMs } from '../times.ts';
import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { CancelReason, DeviceEvent, Offer, UpgradePhase } from './deviceEvents.ts';
import { type LivingDevice, offersOf } from './deviceState.ts';
import type { DeviceStatus } from './deviceStatus.ts';
import { nextNumber } from './numbers.ts';
import { judgeOffer } from './offer.ts';
import { refuse, timeAfter } from './rules.ts';
import { compareVersions } from './version.ts';

/** Decisions about the upgrade of a device: offered (→ announced, on a wire) → started (downloading, written, testing) → upgraded by evidence, failed or cancelled. */

type Events = readonly DeviceEvent[];

/** How long a job may be executed after its offer. */
export const jobLifetimeMs = 30 * dayMs;

const upgradable: readonly DeviceStatus[] = ['STOCK', 'IN_SERVICE'];

/** Whether an upgrade may be offered now. */
export function isUpgradable(state: LivingDevice): boolean {
  return upgradable.includes(state.status) && state.firmware !== undefined && state.decommissionOrderSha256 === undefined;
}

/** I9 and I11, by the one offer decision, and against the current offer: the better one wins, and the other one is cancelled. The same
 *  release is not offered twice: one piece of evidence ends it for both rollouts. */
export function offerFirmware(command: Of<DeviceCommand, 'OfferFirmware'>, state: LivingDevice): Events {
  const { offerId, rolloutId, releaseId, release, line, rules, securityUpdate, decrypts, now } = command;
  if (knownOffer(state, offerId)) return [];
  const { firmware, offer: standing, provenCounter } = state;
  if (firmware === undefined) refuse('DEVICE_STATE', 'the device has no firmware yet');
  const { version, securityCounter, imageHashes } = release;
  const offer: Offer = {
    offerId,
    releaseId,
    version,
    securityCounter,
    imageHashes,
    ...(rolloutId !== undefined && { rolloutId }),
    ...(securityUpdate && { securityUpdate }),
    jobSequence: nextNumber(state.jobSequence, Date.parse(now)),
    jobExpiresAt: timeAfter(now, jobLifetimeMs),
  };
  const refusal = judgeOffer({ ...line, line: state.line, able: isUpgradable(state), firmware, provenCounter, decrypts }, release, rules);
  const isLoser = standing !== undefined && standing.releaseId !== releaseId && !wins(offer, standing);
  if (isLoser && (refusal ?? 'DEVICE_STATE') === 'DEVICE_STATE')
    refuse('SUPERSEDED', `a better release is offered to the device: ${standing.version}`);
  if (refusal !== undefined) refuse(refusal, `release ${releaseId} is not for this device: ${refusal}`);
  if (standing?.releaseId === releaseId) refuse('OFFER_STANDS', 'the same release is offered to the device already');
  return [...cancellation(state, 'superseded', offerId), { type: 'FirmwareOffered', data: offer }];
}

function knownOffer(state: LivingDevice, offerId: string): boolean {
  return state.upgradedOfferId === offerId || offersOf(state).some(known => known.offerId === offerId);
}

/** Of two offers: the higher counter, then the higher version, then the security update, then the later one. */
function wins(later: Offer, standing: Offer): boolean {
  const order =
    later.securityCounter - standing.securityCounter ||
    compareVersions(later.version, standing.version) ||
    Number(later.securityUpdate === true) - Number(standing.securityUpdate === true);
  return order >= 0;
}

export function startUpgrade({ offerId }: Of<DeviceCommand, 'StartUpgrade'>, state: LivingDevice): Events {
  if (state.status === 'UPGRADING' && state.offer?.offerId === offerId) return [];
  requireStatus(state, ['STOCK', 'IN_SERVICE'], 'starting an upgrade', 'DEVICE_STATE');
  if (state.offer?.offerId !== offerId) refuse('DEVICE_STATE', 'this offer does not stand');
  if (!isUpgradable(state)) refuse('DEVICE_STATE', 'the device is to be decommissioned');
  return [{ type: 'UpgradeStarted', data: ofUpgrade(state.offer) }];
}

/** What a messenger says is no proof about the device: it is kept, and the offer stands as before. */
export function announceUpgrade({ offerId }: Of<DeviceCommand, 'AnnounceUpgrade'>, state: LivingDevice): Events {
  if (state.announcedOfferId === offerId || (state.status === 'UPGRADING' && state.offer?.offerId === offerId)) return [];
  if (state.offer?.offerId !== offerId) refuse('DEVICE_STATE', 'this offer does not stand');
  return [{ type: 'UpgradeAnnounced', data: ofUpgrade(state.offer) }];
}

const phases: readonly UpgradePhase[] = ['downloading', 'written', 'testing'];

/** Phases go forward; a report that was late changes nothing. */
export function advanceUpgrade({ offerId, phase }: Of<DeviceCommand, 'AdvanceUpgrade'>, state: LivingDevice): Events {
  const started = startUpgrade({ type: 'StartUpgrade', offerId }, state);
  const before = phases.indexOf(state.upgradePhase ?? 'downloading');
  if (state.offer === undefined || phases.indexOf(phase) <= before) return started;
  return [...started, { type: 'UpgradeAdvanced', data: { ...ofUpgrade(state.offer), phase } }];
}

/** I18, RULE-18: the registry changes only when the evidence shows the new image. Evidence also outweighs an upgrade given up before. */
export function recordUpgrade(command: Of<DeviceCommand, 'RecordUpgrade'>, state: LivingDevice): Events {
  const { offerId, evidenceSha256, imageHash } = command;
  if (state.upgradedOfferId === offerId) return [];
  requireStatus(state, ['STOCK', 'IN_SERVICE', 'UPGRADING'], 'recording an upgrade', 'DEVICE_STATE');
  const offer = standingOffer(state, offerId);
  if (!offer.imageHashes.includes(imageHash)) refuse('ATTESTATION_FAILED', 'the evidence does not show the offered image');
  const { releaseId, version, securityCounter } = offer;
  if (command.securityCounter !== undefined && command.securityCounter < securityCounter) {
    refuse('ATTESTATION_FAILED', 'the evidence shows a lower security counter than the offered image has');
  }
  const facts = { releaseId, version, securityCounter, imageHash, evidenceSha256 };
  return [{ type: 'FirmwareUpgraded', data: { ...ofUpgrade(offer), ...facts } }];
}

function standingOffer(state: LivingDevice, offerId: string): Offer {
  const offer = offersOf(state).find(candidate => candidate.offerId === offerId);
  return offer ?? refuse('DEVICE_STATE', 'this offer does not stand');
}

export function failUpgrade({ offerId, reason }: Of<DeviceCommand, 'FailUpgrade'>, state: LivingDevice): Events {
  if (state.offer?.offerId !== offerId && knownOffer(state, offerId)) return [];
  if (state.offer?.offerId !== offerId) refuse('DEVICE_STATE', 'this offer does not stand');
  return [{ type: 'UpgradeFailed', data: { ...ofUpgrade(state.offer), reason } }];
}

/** A late cancellation changes nothing: the offer has ended already. */
export function cancelUpgrade({ offerId, reason }: Of<DeviceCommand, 'CancelUpgrade'>, state: LivingDevice): Events {
  return state.offer?.offerId === offerId ? cancellation(state, reason) : [];
}

/** The end of the standing offer, if there is one: part of every decision that takes the right to it away. */
export function cancellation({ offer }: LivingDevice, reason: CancelReason, supersededBy?: string): Events {
  if (offer === undefined) return [];
  return [{ type: 'UpgradeCancelled', data: { ...ofUpgrade(offer), reason, ...(supersededBy !== undefined && { supersededBy }) } }];
}

function ofUpgrade({ offerId, rolloutId }: Offer): { readonly offerId: string; readonly rolloutId?: string } {
  return rolloutId === undefined ? { offerId } : { offerId, rolloutId };
}

export function recordRollbackRefusal({ type: _, ...data }: Of<DeviceCommand, 'RecordRollbackRefusal'>, state: LivingDevice): Events {
  return state.rollbacks.includes(`${data.releaseId}/${data.hop}`) ? [] : [{ type: 'RollbackRefused', data }];
}
