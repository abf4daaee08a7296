import type { Actor, IsoTime } from './actor.ts';
import type { ImageKind } from './jobEvents.ts';

/** What can have happened to a device: the events of stream `device-{uid}`. */

/** RFC 5280 §5.3.1, without certificateHold and removeFromCRL: a revocation is permanent, a pause is a suspension. */
export const revocationReasons = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
  'aACompromise',
] as const;

export type RevocationReason = (typeof revocationReasons)[number];

/** What an attestation was judged by. */
export type Attested = {
  readonly evidenceSha256: string;
  readonly via: string;
  /** Of the verdict that the gateway which brought the evidence has signed. */
  readonly verdictSha256?: string;
};

/** SubjectPublicKeyInfo (DER), base64url, and its SHA-256, hex. */
export type AttestationKey = {
  readonly publicKey: string;
  readonly publicKeySha256: string;
  /** Of PSA attestation tokens, 33 bytes, hex; that of the key when it is absent. */
  readonly instanceId?: string;
};

export type IssuedCertificate = {
  /** 16 bytes, hex. */
  readonly serial: string;
  /** SHA-256 of the DER, hex; the certificate is a blob. */
  readonly certificateSha256: string;
  readonly publicKeySha256: string;
  readonly icaId: string;
  readonly notAfter: IsoTime;
  /** Which list of its authority it is on when it is revoked; default: the first one. */
  readonly crlPartition?: number;
};

/** Intent to sign: after a crash the same certificate is signed again, never a second one. */
export type CertificationIntent = {
  readonly serial: string;
  readonly csrSha256: string;
  readonly publicKeySha256: string;
  readonly icaId: string;
  readonly notBefore: IsoTime;
  readonly notAfter: IsoTime;
  /** As IssuedCertificate has it. */
  readonly crlPartition?: number;
};

export type FirmwareFacts = {
  readonly releaseId: string;
  readonly version: string;
  readonly securityCounter: number;
  readonly imageHash: string;
};

export type Offer = {
  readonly offerId: string;
  readonly releaseId: string;
  readonly version: string;
  readonly securityCounter: number;
  readonly imageHashes: readonly string[];
  readonly rolloutId?: string;
  /** Closes a hole: of two offers with the same counter and version it wins. */
  readonly securityUpdate?: boolean;
  /** What the signed job says; offers of before have neither. The sequence strictly rises from offer to offer of a device. */
  readonly jobSequence?: number;
  readonly jobExpiresAt?: string;
};

/** How far a device is with an upgrade, as it says: it fetches the image, has it whole in its second slot, restarts into it. */
export type UpgradePhase = 'downloading' | 'written' | 'testing';

/** Why an offered upgrade is withdrawn. */
export const cancelReasons = [
  'rollout-aborted',
  'rollout-halted',
  'release-withdrawn',
  'superseded',
  'quarantined',
  'suspended',
  'repair',
  'decommission',
  'revoked',
] as const;
export type CancelReason = (typeof cancelReasons)[number];

/** Whose end it is. Events of before do not name the rollout. */
type OfUpgrade = { readonly offerId: string; readonly rolloutId?: string };

export type RollbackHop = 'cloud' | 'programmer' | 'gateway' | 'device';

type Event<Type extends string, Data> = { readonly type: Type; readonly data: Data };

export type DeviceEvent =
  // Manufacture
  | Event<
      'DeviceMinted',
      {
        readonly uid: string;
        readonly objId: string;
        readonly generation: number;
        readonly line: string;
        readonly jobId: string;
        readonly programmer: string;
        readonly grantId: string;
      }
    >
  | Event<'CertificationRequested', CertificationIntent>
  | Event<'DeviceCertified', IssuedCertificate & { readonly uid: string; readonly objId: string }>
  | Event<'CertificateInstalled', { readonly serial: string }>
  | Event<'BootKeyAssigned', { readonly slot: ImageKind; readonly keyId: string; readonly publicKey: string }>
  | Event<'BootKeyBurned', { readonly slot: ImageKind; readonly keyId: string }>
  | Event<'BootloaderInstalled', FirmwareFacts>
  /** `unlockKeyId`: key of the keystore that the unlock password comes from; absent when the chip has no hash of a password. */
  | Event<'DebugLocked', { readonly receiptSha256: string; readonly unlockKeyId?: string }>
  /** Point of the key that images are encrypted for, 65 bytes, base64url: made in the chip, and signed by it in this receipt. */
  | Event<'EncryptionKeyCertified', { readonly publicKey: string; readonly receiptSha256: string }>
  | Event<'ProgrammingSessionAuthenticated', { readonly grantId: string; readonly evidenceSha256: string }>
  | Event<'FirmwareInstalled', FirmwareFacts & { readonly receiptSha256: string }>
  | Event<'ProvisioningCompleted', { readonly grantId: string; readonly receiptSha256: string }>
  | Event<'DeviceFailed', { readonly reason: string }>
  | Event<'DeviceScrapped', { readonly reason: string }>
  // Field
  | Event<'DevicePutInService', { readonly via: string }>
  | Event<'AttestationPassed', Attested & { readonly measurementSha256: string }>
  | Event<'AttestationFailed', Attested & { readonly reason: string }>
  | Event<'FirmwareOffered', Offer>
  | Event<'UpgradeStarted', OfUpgrade>
  /** A machine with the device on its wires says that it begins. Its word moves nothing. */
  | Event<'UpgradeAnnounced', OfUpgrade>
  | Event<'UpgradeAdvanced', OfUpgrade & { readonly phase: UpgradePhase }>
  | Event<'FirmwareUpgraded', FirmwareFacts & OfUpgrade & { readonly evidenceSha256: string }>
  | Event<'UpgradeFailed', OfUpgrade & { readonly reason: string }>
  /** The right to it has ended; the device gets an order to forget it. `supersededBy`: the offer that replaces it. */
  | Event<'UpgradeCancelled', OfUpgrade & { readonly reason: CancelReason; readonly supersededBy?: string }>
  /** The security counter in OTP, as measured: it only rises, so nothing below it is offered any more. */
  | Event<'CounterProven', { readonly counter: number; readonly evidenceSha256: string }>
  | Event<
      'RollbackRefused',
      { readonly releaseId: string; readonly version: string; readonly securityCounter: number; readonly hop: RollbackHop }
    >
  // Identity
  /** Written before there were operational certificates: the certificate of the production was replaced. */
  | Event<'CertificateRenewed', IssuedCertificate & { readonly previousSerial: string }>
  /** Operational certificate (LDevID), beside the IDevID. */
  | Event<'OperationalCertificateIssued', IssuedCertificate>
  | Event<'CertificateExpired', { readonly serial: string }>
  | Event<'CertificateRevoked', { readonly serial: string; readonly reason: RevocationReason; readonly by: Actor }>
  | Event<'CloneSuspected', { readonly reason: string; readonly evidence: string }>
  /** The device trusts this trust bundle from now on, as it says. */
  | Event<'TrustBundleFollowed', { readonly version: number }>
  | Event<'DeviceQuarantined', { readonly reason: string; readonly by: Actor }>
  | Event<'DeviceReleased', { readonly reason: string; readonly by: Actor }>
  /** Words that people sort devices by: all that it has from now on. */
  | Event<'DeviceTagged', { readonly tags: readonly string[]; readonly by: Actor }>
  /** A key that it proves itself with where it has no certificate; the newest one counts. @see AttestationKey */
  | Event<'AttestationKeyEnrolled', AttestationKey & { readonly by: Actor }>
  /** All its certificates are on hold. */
  | Event<'DeviceSuspended', { readonly reason: string; readonly by: Actor }>
  | Event<'DeviceResumed', { readonly by: Actor }>
  // Repair and end
  /** All its certificates are on hold. `programmer`: UID of the one that may unlock it and give it its next generation. */
  | Event<'DeviceTakenForRepair', { readonly reason: string; readonly by: Actor; readonly programmer?: string }>
  | Event<'DebugUnlockRequested', { readonly reason: string; readonly by: Actor; readonly at?: IsoTime }>
  /** `contentSha256`: SHA-256 of the content (`unlockContent`) that was approved. */
  | Event<'DebugUnlockApproved', { readonly by: Actor; readonly contentSha256?: string }>
  /** The password was disclosed with this order. */
  | Event<'DebugUnlockOrdered', { readonly orderSha256: string; readonly approvers: readonly string[]; readonly programmer?: string }>
  /** Registration id of the next generation. */
  | Event<'DeviceReturnOrdered', { readonly objId: string; readonly generation: number; readonly by: Actor }>
  | Event<'NextGenerationCertified', IssuedCertificate & { readonly objId: string }>
  /** The next generation has proven itself. */
  | Event<
      'DeviceReturnedToService',
      IssuedCertificate & { readonly objId: string; readonly generation: number; readonly receiptSha256?: string }
    >
  | Event<'DeviceDecommissionOrdered', { readonly reason: string; readonly by: Actor; readonly orderSha256: string }>
  | Event<'DeviceDecommissioned', { readonly wipeReceiptSha256?: string; readonly withoutReceipt?: string }>
  | Event<'KeyCustodyDestroyed', { readonly keyIds: readonly string[] }>;
