import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import { requireConnectable } from './deviceField.ts';
import type { LivingDevice } from './deviceState.ts';
import { isPast, refuse } from './rules.ts';

/** Decisions about the certificates of a device in the field and the trust bundle it follows. */

type Events = readonly DeviceEvent[];

/** Whether a device may have an operational certificate now, a first or a next one: not in quarantine, on hold, out of use or about to be (I11).
 *  @throws NusecError DEVICE_STATE */
export function requireCertifiable(state: LivingDevice): void {
  requireStatus(state, ['STOCK', 'IN_SERVICE', 'UPGRADING'], 'an operational certificate', 'DEVICE_STATE');
  if (state.decommissionOrderSha256 !== undefined) refuse('DEVICE_STATE', 'the device is to be decommissioned');
}

export function issueOperational(
  { type: _, ...certificate }: Of<DeviceCommand, 'IssueOperationalCertificate'>,
  state: LivingDevice,
): Events {
  if (state.certificates.some(({ serial }) => serial === certificate.serial)) return [];
  requireCertifiable(state);
  return [{ type: 'OperationalCertificateIssued', data: certificate }];
}

export function expireCertificate({ serial, now }: Of<DeviceCommand, 'ExpireCertificate'>, state: LivingDevice): Events {
  const certificate = certificateOf(state, serial);
  if (certificate.status !== 'issued') return [];
  if (!isPast(certificate.notAfter, now)) refuse('STATE', `the certificate is good until ${certificate.notAfter}`);
  return [{ type: 'CertificateExpired', data: { serial } }];
}

export function revokeCertificate({ serial, reason, by }: Of<DeviceCommand, 'RevokeCertificate'>, state: LivingDevice): Events {
  const certificate = certificateOf(state, serial);
  return certificate.status === 'revoked' ? [] : [{ type: 'CertificateRevoked', data: { serial, reason, by } }];
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
