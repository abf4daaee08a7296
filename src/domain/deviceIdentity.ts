import type { Actor } from './actor.ts';
import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import { requireConnectable } from './deviceField.ts';
import type { DeviceCertificate, LivingDevice } from './deviceState.ts';
import { type DeviceStatus, deviceMove } from './deviceStatus.ts';
import { cancellation } from './deviceUpgrade.ts';
import { isPast, refuse } from './rules.ts';

/** Decisions about the certificates of a device in the field and the trust bundle it follows. */

type Events = readonly DeviceEvent[];

/** Statuses in which a device may have an operational certificate. */
const certifiable: readonly DeviceStatus[] = ['STOCK', 'IN_SERVICE', 'UPGRADING'];

/** Whether a device may have an operational certificate now, a first or a next one: not in quarantine, on hold, out of use or about to be (I11).
 *  @throws NusecError DEVICE_STATE */
export function requireCertifiable(state: LivingDevice): void {
  requireStatus(state, certifiable, 'an operational certificate', 'DEVICE_STATE');
  if (state.decommissionOrderSha256 !== undefined) refuse('DEVICE_STATE', 'the device is to be decommissioned');
}

/** Operational certificates of a device that are valid at the same time: the current one, the next one, and one to spare. */
const maxLiveOperational = 3;

/** The oldest may be in use; of more than a few the one after it ends. */
export function issueOperational(
  { type: _, ...certificate }: Of<DeviceCommand, 'IssueOperationalCertificate'>,
  state: LivingDevice,
): Events {
  if (state.certificates.some(({ serial }) => serial === certificate.serial)) return [];
  requireCertifiable(state);
  const surplus = liveOperational(state).slice(1, 2 - maxLiveOperational + liveOperational(state).length);
  return [{ type: 'OperationalCertificateIssued', data: certificate }, ...superseded(surplus, 'system:quota')];
}

/** A device that uses an operational certificate has no use for the older ones. */
export function endOlderCertificates({ serial, by }: Of<DeviceCommand, 'EndOlderCertificates'>, state: LivingDevice): Events {
  if (!certifiable.includes(state.status)) return [];
  const live = liveOperational(state);
  const used = live.findIndex(certificate => certificate.serial === serial);
  return superseded(live.slice(0, Math.max(0, used)), by);
}

const liveOperational = ({ certificates, serial }: LivingDevice): readonly DeviceCertificate[] =>
  certificates.filter(certificate => certificate.status === 'issued' && certificate.serial !== serial);

const superseded = (certificates: readonly DeviceCertificate[], by: Actor): Events =>
  certificates.map(({ serial }) => ({ type: 'CertificateRevoked', data: { serial, reason: 'superseded', by } }));

export function expireCertificate({ serial, now }: Of<DeviceCommand, 'ExpireCertificate'>, state: LivingDevice): Events {
  const certificate = certificateOf(state, serial);
  if (certificate.status !== 'issued') return [];
  if (!isPast(certificate.notAfter, now)) refuse('STATE', `the certificate is good until ${certificate.notAfter}`);
  return [{ type: 'CertificateExpired', data: { serial } }];
}

export function revokeCertificate({ serial, reason, by }: Of<DeviceCommand, 'RevokeCertificate'>, state: LivingDevice): Events {
  const certificate = certificateOf(state, serial);
  if (certificate.status === 'revoked') return [];
  const revoked: DeviceEvent = { type: 'CertificateRevoked', data: { serial, reason, by } };
  const isEnd = deviceMove(state, revoked).status === 'REVOKED';
  return [revoked, ...(isEnd ? cancellation(state, 'revoked') : [])];
}

function certificateOf(state: LivingDevice, serial: string) {
  const certificate = state.certificates.find(candidate => candidate.serial === serial);
  return certificate ?? refuse('NOT_FOUND', 'the device has no such certificate');
}

/** What the device says of itself, up or down: only a change is an event. */
export function applyTrustBundle({ version }: Of<DeviceCommand, 'ApplyTrustBundle'>, state: LivingDevice): Events {
  if (version === (state.trustBundleVersion ?? 0)) return [];
  requireConnectable(state);
  return [{ type: 'TrustBundleFollowed', data: { version } }];
}
