import { createCipheriv, hkdfSync } from 'node:crypto';
import { concat } from '../../src/bytes.ts';
import type { Grant } from '../../src/production/grant.ts';
import type { LedgerRecord } from '../../src/production/ledger.ts';
import type { Order } from '../../src/production/order.ts';
import type { ContentSeal, PackagePayload } from '../../src/production/package.ts';
import type { PackageAck } from '../../src/production/packageAck.ts';
import type { Receipt } from '../../src/production/receipt.ts';
import type { GatewayVerdict } from '../../src/production/verdict.ts';

/** One valid value of every signed format, from readable bytes. */
export const fill = (byte: number, length = 16): Uint8Array => new Uint8Array(length).fill(byte);

export const progUid = fill(0xa1);
export const jobId = fill(0xb2);
export const packageId = fill(0xc3);
export const uidA = fill(0x0a);
export const objId = fill(0xd4);
export const nonce = fill(0xe5);
export const now = 1_800_000_000;

export const payload: PackagePayload = {
  version: 1,
  packageId,
  jobId,
  progUid,
  count: 1000,
  sequence: 3,
  issuedAtSeconds: now - 60,
  expiresAtSeconds: now + 86_400,
  images: [
    {
      id: 1,
      version: { major: 1, minor: 2, revision: 3, build: 4 },
      sha256: fill(0x51, 32),
      sizeBytes: 196_608,
      securityCounter: 5,
      format: 'mcuboot',
    },
  ],
  uids: { uids: [uidA, fill(0x0b)] },
  server: { baseUrl: 'https://nusec.example.com', tlsRootKeySha256: fill(0x52, 32) },
  policy: { requireUidList: true, lockDebug: true, deployedLifeCycle: false, requireSpdm: true, verifyBootBeforeLock: true },
  vendorId: fill(0x53),
  classId: fill(0x54),
  scrapAllowance: 20,
  rollbackFloor: 5,
  icaId: 'ica/device/1',
  otpMapVersion: 1,
};

export const grant: Grant = {
  grantId: fill(0x61),
  jobId,
  uid: uidA,
  objId,
  progUid,
  number: 7,
  expiresAtSeconds: now + 900,
  ledgerHead: fill(0x62, 32),
};

export const receipt: Receipt = {
  uid: uidA,
  objId,
  nonce,
  stage: 'bl2',
  lifeCycle: 'deployed',
  debugState: 'locked',
  otpMask: 0b11111,
  images: [{ image: 1, version: { major: 1, minor: 0, revision: 0, build: 0 }, sha256: fill(0x51, 32), securityCounter: 5 }],
  certificateSha256: fill(0x71, 32),
  bootCount: 2,
};

export const order: Order = {
  operation: 'wipe',
  uid: uidA,
  objId,
  nonce,
  expiresAtSeconds: now + 900,
  reason: 'end of life',
  approvers: ['officer', 'manager'],
};

export const verdict: GatewayVerdict = {
  gateway: 'gw-1',
  uid: uidA,
  nonce,
  verdict: 'passed',
  spdmVersion: 0x12,
  transcriptSha256: fill(0x81, 32),
  measurementSha256: fill(0x82, 32),
  bundleVersion: 4,
  timeSeconds: now,
  sequence: 9,
};

export const packageAck: PackageAck = {
  progUid,
  jobId,
  packageId,
  sequence: 3,
  epoch: 1,
  packageSha256: fill(0x91, 32),
  remaining: 1000,
  ledgerHead: fill(0x92, 32),
};

/** Ledger records of a job in which one unit was built and one voided; the links are set when they are signed. */
export const ledgerSteps: readonly Omit<LedgerRecord, 'number' | 'previousSha256' | 'uptimeSeconds'>[] = [
  { type: 'boot' },
  { type: 'import', jobId, packageId, remaining: 1000 },
  { type: 'reserve', jobId, packageId, remaining: 999, uid: uidA },
  { type: 'commit', jobId, packageId, remaining: 999, uid: uidA, objId, grantId: fill(0x61), receiptSha256: fill(0x63, 32) },
  { type: 'reserve', jobId, packageId, remaining: 998, uid: fill(0x0b) },
  { type: 'void', jobId, packageId, remaining: 999, uid: fill(0x0b), reason: 'no answer' },
  { type: 'zeroise', jobId, packageId, remaining: 0 },
];

/** The server's side of the AEAD, written out from RFC 5869 and NIST SP 800-38D calls, apart from the code under test. */
export const sealWith =
  (aesNuLink3: Uint8Array): ContentSeal =>
  async (kdf, iv, aad, plaintext) => {
    const cipher = createCipheriv('aes-256-gcm', new Uint8Array(hkdfSync('sha256', aesNuLink3, kdf.salt, kdf.info, 32)), iv);
    cipher.setAAD(aad);
    return concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
  };
