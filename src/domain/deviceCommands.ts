import type { Actor, IsoTime } from './actor.ts';
import type { ApprovedContent } from './approval.ts';
import type {
  AttestationKey,
  Attested,
  CancelReason,
  CertificationIntent,
  FirmwareFacts,
  IssuedCertificate,
  RevocationReason,
  RollbackHop,
  UpgradePhase,
} from './deviceEvents.ts';
import type { ImageKind } from './jobEvents.ts';
import type { InstalledFirmware, OfferRelease, OfferRules, Product } from './offer.ts';

/** What can be asked of a device's stream. Signatures, receipts and evidence are verified by the caller; the facts come in here. */

type Command<Type extends string, Fields> = { readonly type: Type } & Fields;

export type DeviceCommand =
  // Manufacture
  | Command<
      'MintDevice',
      {
        readonly uid: string;
        readonly objId: string;
        readonly line: string;
        readonly jobId: string;
        readonly programmer: string;
        readonly grantId: string;
      }
    >
  | Command<
      'RequestCertification',
      CertificationIntent & {
        /** Outcome of the CSR check: proof of possession, and the subject it carries (I6). */
        readonly csr: { readonly signatureVerified: boolean; readonly uid: string; readonly objId: string };
      }
    >
  | Command<'CertifyDevice', IssuedCertificate>
  | Command<'InstallCertificate', { readonly serial: string }>
  | Command<'AssignBootKey', { readonly slot: ImageKind; readonly keyId: string; readonly publicKey: string }>
  | Command<'BurnBootKey', { readonly slot: ImageKind; readonly keyId: string }>
  | Command<'InstallBootloader', FirmwareFacts>
  | Command<'LockDebug', { readonly receiptSha256: string; readonly unlockKeyId?: string }>
  | Command<'CertifyEncryptionKey', { readonly publicKey: string; readonly receiptSha256: string }>
  | Command<'AuthenticateSession', { readonly grantId: string; readonly evidenceSha256: string }>
  | Command<'InstallFirmware', FirmwareFacts & { readonly grantId: string; readonly receiptSha256: string }>
  | Command<'CompleteProvisioning', { readonly grantId: string; readonly receiptSha256: string }>
  /** Voids the unit. `otpTouched`: an OTP write or the lock may have begun without proof. */
  | Command<'FailUnit', { readonly reason: string; readonly otpTouched: boolean; readonly by: Actor }>
  // Field
  | Command<'ConnectDevice', { readonly via: string }>
  | Command<
      'RecordAttestation',
      Attested & ({ readonly passed: true; readonly measurementSha256: string } | { readonly passed: false; readonly reason: string })
    >
  | Command<
      'OfferFirmware',
      {
        readonly offerId: string;
        readonly rolloutId?: string;
        readonly releaseId: string;
        readonly release: OfferRelease;
        /** The device's line, from its stream. */
        readonly line: Product;
        readonly rules: OfferRules;
        readonly securityUpdate?: boolean;
        /** It can decrypt what is encrypted for its line. */
        readonly decrypts?: boolean;
        readonly now: string;
      }
    >
  | Command<'StartUpgrade', { readonly offerId: string }>
  /** By who has it on a wire. */
  | Command<'AnnounceUpgrade', { readonly offerId: string }>
  | Command<'AdvanceUpgrade', { readonly offerId: string; readonly phase: UpgradePhase }>
  /** Evidence gathered after the device confirmed the image and rebooted. */
  | Command<
      'RecordUpgrade',
      { readonly offerId: string; readonly evidenceSha256: string; readonly imageHash: string; readonly securityCounter?: number }
    >
  | Command<'RecordCounter', { readonly counter: number; readonly evidenceSha256: string; readonly by: Actor }>
  | Command<'FailUpgrade', { readonly offerId: string; readonly reason: string }>
  | Command<'ReportFirmware', InstalledFirmware>
  | Command<'CancelUpgrade', { readonly offerId: string; readonly reason: CancelReason }>
  | Command<
      'RecordRollbackRefusal',
      { readonly releaseId: string; readonly version: string; readonly securityCounter: number; readonly hop: RollbackHop }
    >
  // Identity
  /** Records an operational certificate (LDevID); the IDevID stays the device's own. */
  | Command<'IssueOperationalCertificate', IssuedCertificate>
  /** The device uses this certificate: older operational ones end. */
  | Command<'EndOlderCertificates', { readonly serial: string; readonly by: Actor }>
  | Command<'ExpireCertificate', { readonly serial: string; readonly now: IsoTime }>
  | Command<'RevokeCertificate', { readonly serial: string; readonly reason: RevocationReason; readonly by: Actor }>
  | Command<'ApplyTrustBundle', { readonly version: number }>
  /** `byGateway`: gateways say so, and nothing of it is signed by the device. */
  | Command<'SuspectClone', { readonly reason: string; readonly evidence: string; readonly by: Actor; readonly byGateway?: boolean }>
  | Command<'QuarantineDevice', { readonly reason: string; readonly by: Actor }>
  | Command<'ReleaseDevice', { readonly reason: string; readonly by: Actor }>
  | Command<'TagDevice', { readonly add: readonly string[]; readonly remove: readonly string[]; readonly by: Actor }>
  | Command<'EnrolAttestationKey', AttestationKey & { readonly by: Actor }>
  | Command<'SuspendDevice', { readonly reason: string; readonly by: Actor }>
  | Command<'ResumeDevice', { readonly by: Actor }>
  // Repair and end
  /** `programmer`: UID of the one that will have the device on its wires. */
  | Command<'TakeForRepair', { readonly reason: string; readonly programmer: string; readonly by: Actor }>
  | Command<'RequestDebugUnlock', { readonly reason: string; readonly by: Actor; readonly now: IsoTime }>
  | Command<'ApproveDebugUnlock', { readonly by: Actor; readonly now: IsoTime; readonly content?: ApprovedContent }>
  /** Recorded before the password leaves the server. */
  | Command<'OrderDebugUnlock', { readonly orderSha256: string; readonly programmer: string }>
  | Command<'OrderReturn', { readonly objId: string; readonly by: Actor }>
  | Command<'ReturnToService', { readonly objId: string; readonly receiptSha256: string; readonly by: Actor }>
  | Command<'OrderDecommission', { readonly reason: string; readonly by: Actor; readonly orderSha256: string }>
  | Command<
      'CompleteDecommission',
      { readonly by: Actor } & ({ readonly wipeReceiptSha256: string } | { readonly timedOut: true } | { readonly byTwoPeople: true })
    >
  /** `byTwoPeople`: they agreed to it although nothing proves the wipe. */
  | Command<'DestroyCustody', { readonly keyIds: readonly string[]; readonly byTwoPeople?: boolean }>;
