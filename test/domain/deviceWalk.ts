import type { Of } from '../../src/domain/decider.ts';
import type { DeviceCommand } from '../../src/domain/deviceCommands.ts';

/** The commands that build one device, in the order of the production steps, and values shared by the device tests. */

export const uid = 'a1'.repeat(16);
export const objId = '0b'.repeat(16);
export const grantId = 'grant-1';

export const unit = { uid, objId, line: 'meter', jobId: 'job-1', programmer: 'prog-1', grantId };
export const intent = {
  serial: '5e01',
  csrSha256: 'c5',
  publicKeySha256: 'key-1',
  icaId: 'ica-1',
  notBefore: '2026-01-01T00:00:00.000Z',
  notAfter: '2046-01-01T00:00:00.000Z',
};
export const certificate = { serial: '5e01', certificateSha256: 'ce', publicKeySha256: 'key-1', icaId: 'ica-1', notAfter: intent.notAfter };
export const bootloader = { releaseId: 'bl2-1', version: '1.0.0', securityCounter: 1, imageHash: 'b1' };
export const application = { releaseId: 'app-1', version: '2.0.0', securityCounter: 5, imageHash: 'f2' };
export const csr = { signatureVerified: true, uid, objId };

export const steps = {
  mint: { type: 'MintDevice', ...unit },
  request: { type: 'RequestCertification', ...intent, csr },
  certify: { type: 'CertifyDevice', ...certificate },
  certificate: { type: 'InstallCertificate', serial: '5e01' },
  assignBl2: { type: 'AssignBootKey', slot: 'bl2', keyId: 'k-bl2', publicKey: 'pk' },
  bootloader: { type: 'InstallBootloader', ...bootloader },
  burnBl2: { type: 'BurnBootKey', slot: 'bl2', keyId: 'k-bl2' },
  assignApp: { type: 'AssignBootKey', slot: 'app', keyId: 'k-app', publicKey: 'pk2' },
  burnApp: { type: 'BurnBootKey', slot: 'app', keyId: 'k-app' },
  lock: { type: 'LockDebug', receiptSha256: 'r1', unlockKeyId: 'debug-unlock/1' },
  session: { type: 'AuthenticateSession', grantId, evidenceSha256: 'e1' },
  install: { type: 'InstallFirmware', ...application, grantId, receiptSha256: 'r2' },
  complete: { type: 'CompleteProvisioning', grantId, receiptSha256: 'r2' },
} as const satisfies Record<string, DeviceCommand>;

export type Step = keyof typeof steps;

/** All production commands up to and without `end`; all of them when it is not given. */
export function until(end?: Step): readonly DeviceCommand[] {
  const names = Object.keys(steps) as Step[];
  return names.slice(0, end === undefined ? names.length : names.indexOf(end)).map(name => steps[name]);
}

const product = { line: 'meter', vendorUuid: 'v', classUuid: 'c' };

export const offer: Of<DeviceCommand, 'OfferFirmware'> = {
  type: 'OfferFirmware',
  offerId: 'o1',
  releaseId: 'app-2',
  release: { ...product, status: 'PUBLISHED', version: '2.1.0', securityCounter: 6, imageHashes: ['f3', 'f3e'] },
  line: product,
  rules: { rollbackFloor: 0, counterMaximum: 255 },
  now: '2026-09-01T12:00:00.000Z',
};
export const startUpgrade: DeviceCommand = { type: 'StartUpgrade', offerId: 'o1' };
export const upgraded: Of<DeviceCommand, 'RecordUpgrade'> = {
  type: 'RecordUpgrade',
  offerId: 'o1',
  evidenceSha256: 'e3',
  imageHash: 'f3e',
  securityCounter: 6,
};
export const connect: DeviceCommand = { type: 'ConnectDevice', via: 'mqtt' };
export const passed: DeviceCommand = {
  type: 'RecordAttestation',
  passed: true,
  evidenceSha256: 'e2',
  measurementSha256: 'm1',
  via: 'mqtt',
};
export const revoke: DeviceCommand = { type: 'RevokeCertificate', serial: '5e01', reason: 'keyCompromise', by: 'operator:sam' };
export const repair = {
  type: 'TakeForRepair',
  reason: 'display',
  programmer: 'prog-9',
  by: 'operator:sam',
} as const satisfies DeviceCommand;
export const unlockAsked = '2026-09-02T08:00:00.000Z';
export const requestUnlock: DeviceCommand = { type: 'RequestDebugUnlock', reason: 'no boot', by: 'operator:sam', now: unlockAsked };
export const approveUnlock: DeviceCommand = { type: 'ApproveDebugUnlock', by: 'operator:kim', now: unlockAsked };
export const orderUnlock: DeviceCommand = { type: 'OrderDebugUnlock', orderSha256: 'u1', programmer: 'prog-9' };
export const nextObjId = '0d'.repeat(16);
export const nextIntent = { ...intent, serial: '5e09', publicKeySha256: 'key-9', csrSha256: 'c9' };
export const nextCertificate = { ...certificate, serial: '5e09', publicKeySha256: 'key-9', certificateSha256: 'ce9' };
export const orderReturn: DeviceCommand = { type: 'OrderReturn', objId: nextObjId, by: 'operator:sam' };
export const requestNext = {
  type: 'RequestCertification',
  ...nextIntent,
  csr: { ...csr, objId: nextObjId },
} as const satisfies DeviceCommand;
export const certifyNext: DeviceCommand = { type: 'CertifyDevice', ...nextCertificate };
export const back: DeviceCommand = { type: 'ReturnToService', objId: nextObjId, receiptSha256: 'r9', by: 'programmer:prog-9' };
export const orderEnd: DeviceCommand = { type: 'OrderDecommission', reason: 'old', by: 'operator:sam', orderSha256: 'or' };
export const end: DeviceCommand = { type: 'CompleteDecommission', by: 'system:decommission', wipeReceiptSha256: 'w1' };
