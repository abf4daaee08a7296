import { partitionFact } from './crlList.ts';
import type {
  AttestationKey,
  CertificationIntent,
  DeviceEvent,
  FirmwareFacts,
  IssuedCertificate,
  Offer,
  RevocationReason,
  UpgradePhase,
} from './deviceEvents.ts';
import { type DeviceStanding, deviceMove, movesDevice } from './deviceStatus.ts';
import type { ImageKind } from './jobEvents.ts';

/** The fold of a device's events. */

export type DeviceCertificate = IssuedCertificate & {
  readonly status: 'issued' | 'expired' | 'revoked';
  readonly revocationReason?: RevocationReason;
};

/** Assigned once per chip and slot, permanently: it survives a new generation (same ROTPK). */
export type DeviceBootKey = { readonly keyId: string; readonly publicKey: string; readonly burned: boolean };

/** What became of the device since it was taken for repair. */
export type Repair = {
  /** UID of the one that may unlock the device and give it its next generation. */
  readonly programmer?: string;
  readonly unlock?: {
    readonly requestedBy: string;
    readonly requestedAt?: string;
    readonly reason?: string;
    readonly approvedBy?: string;
    readonly orderSha256?: string;
  };
  readonly next?: { readonly objId: string; readonly generation: number; readonly certificate?: IssuedCertificate };
};

/** What the end of a device says when two people have agreed to it without a receipt. */
export const givenUpByTwo = 'given up by two people';
/** What it says when the order has timed out: the keys stay. */
export const timedOut = 'timed out';

export type LivingDevice = DeviceStanding & {
  readonly uid: string;
  readonly objId: string;
  /** Every registration id this chip ever had. */
  readonly objIds: readonly string[];
  readonly generation: number;
  readonly line: string;
  readonly jobId: string;
  readonly programmer: string;
  readonly grantId: string;
  readonly certification?: CertificationIntent;
  /** All certificates of all generations, oldest first. */
  readonly certificates: readonly DeviceCertificate[];
  readonly certificateInstalled: boolean;
  readonly bootKeys: { readonly [Slot in ImageKind]?: DeviceBootKey };
  readonly bootloader?: FirmwareFacts;
  readonly debugLocked: boolean;
  /** Point that images are encrypted for, base64url; absent from chips that made no such key. */
  readonly encryptionKey?: string;
  readonly session?: { readonly grantId: string; readonly evidenceSha256: string };
  /** What the registry knows to run: changes only by evidence (I18). */
  readonly firmware?: FirmwareFacts;
  readonly provisioned: boolean;
  readonly attestation?:
    | { readonly passed: true; readonly measurementSha256: string }
    | { readonly passed: false; readonly reason: string };
  readonly offer?: Offer;
  /** The offer that a machine said it brings over a wire. */
  readonly announcedOfferId?: string;
  /** How far the device is with the standing offer; absent before it has begun. */
  readonly upgradePhase?: UpgradePhase;
  /** Upgrades that were given up or cancelled since the last proven one, the newest first, one of each release: the device may have written any of
   *  them before it heard of its end, and evidence that it succeeded after all still counts. */
  readonly givenUp: readonly Offer[];
  /** Of the last upgrade that was cancelled: what the device is to forget. */
  readonly cancelledOfferId?: string;
  readonly upgradedOfferId?: string;
  /** Of the newest signed job: the device refuses a lower one. */
  readonly jobSequence?: number;
  /** Highest security counter in OTP that the chip has proven. */
  readonly provenCounter?: number;
  /** Of the trust bundle that the device said it has. */
  readonly trustBundleVersion?: number;
  readonly tags?: readonly string[];
  /** Keys that the device proves itself with where it has no certificate, one for a generation. */
  readonly attestationKeys?: readonly GenerationKey[];
  /** Reasons of the clone suspicions since the last release from quarantine. */
  readonly suspicions: readonly string[];
  /** `release/hop` of every refused rollback. */
  readonly rollbacks: readonly string[];
  /** Key of the keystore that the unlock password comes from. */
  readonly unlockKeyId?: string;
  readonly repair?: Repair;
  readonly decommissionOrderSha256?: string;
  readonly custodyDestroyed: boolean;
  /** How it was decommissioned. */
  readonly end?: DataOf<'DeviceDecommissioned'>;
};

export type DeviceState = { readonly status: 'NONE' } | LivingDevice;

export type GenerationKey = AttestationKey & { readonly generation: number };

/** The enrolled key that counts: a repair opens the debug port, so an earlier generation's proves nothing any more. */
export const attestationKeyOf = (
  { attestationKeys = [], generation: present }: Pick<LivingDevice, 'attestationKeys' | 'generation'>,
  generation = present,
): GenerationKey | undefined => attestationKeys.find(key => key.generation === generation);

/** Whether the wipe is proven, or two people have given the device up. */
export const mayDestroyKeys = ({ end }: Pick<LivingDevice, 'end'>): boolean =>
  end !== undefined && (end.wipeReceiptSha256 !== undefined || end.withoutReceipt === givenUpByTwo);

/** The certificate the device uses now. */
export function currentCertificate(state: DeviceState): DeviceCertificate | undefined {
  return state.status === 'NONE' ? undefined : state.certificates.find(({ serial }) => serial === state.serial);
}

export function evolveDevice(state: DeviceState, event: DeviceEvent): DeviceState {
  if (event.type === 'DeviceMinted') return minted(state, event.data);
  if (state.status === 'NONE') return state;
  const moved = movesDevice(event.type) ? { ...state, ...deviceMove(state, event) } : state;
  return (
    evolveManufacture(moved, event) ?? evolveField(moved, event) ?? evolveIdentity(moved, event) ?? evolveRepair(moved, event) ?? moved
  );
}

type DataOf<Type extends DeviceEvent['type']> = Extract<DeviceEvent, { readonly type: Type }>['data'];

/** A new generation starts from nothing but what is burned, assigned or issued permanently. */
function minted(state: DeviceState, data: DataOf<'DeviceMinted'>): LivingDevice {
  const kept: Pick<LivingDevice, 'objIds' | 'certificates' | 'bootKeys' | 'rollbacks' | 'provenCounter' | 'encryptionKey' | 'jobSequence'> =
    state.status === 'NONE' ? { objIds: [], certificates: [], bootKeys: {}, rollbacks: [] } : state;
  return {
    ...data,
    status: 'MINTED',
    objIds: [...kept.objIds, data.objId],
    certificates: kept.certificates,
    bootKeys: kept.bootKeys,
    rollbacks: kept.rollbacks,
    ...(kept.provenCounter !== undefined && { provenCounter: kept.provenCounter }),
    ...(kept.encryptionKey !== undefined && { encryptionKey: kept.encryptionKey }),
    ...(kept.jobSequence !== undefined && { jobSequence: kept.jobSequence }),
    certificateInstalled: false,
    debugLocked: false,
    provisioned: false,
    suspicions: [],
    custodyDestroyed: false,
    givenUp: [],
  };
}

function evolveManufacture(state: LivingDevice, event: DeviceEvent): LivingDevice | undefined {
  switch (event.type) {
    case 'CertificationRequested':
      return { ...state, certification: event.data };
    case 'DeviceCertified':
      return withCertificate(state, event.data);
    case 'CertificateInstalled':
      return { ...state, certificateInstalled: true };
    case 'BootKeyAssigned': {
      const { slot, keyId, publicKey } = event.data;
      return { ...state, bootKeys: { ...state.bootKeys, [slot]: { keyId, publicKey, burned: false } } };
    }
    case 'BootKeyBurned':
      return withBurnedKey(state, event.data.slot);
    case 'BootloaderInstalled':
      return { ...state, bootloader: event.data };
    case 'DebugLocked':
      return { ...state, debugLocked: true, ...(event.data.unlockKeyId && { unlockKeyId: event.data.unlockKeyId }) };
    case 'EncryptionKeyCertified':
      return { ...state, encryptionKey: event.data.publicKey };
    case 'ProgrammingSessionAuthenticated':
      return { ...state, session: event.data };
    case 'FirmwareInstalled':
      return { ...state, firmware: factsOf(event.data) };
    case 'ProvisioningCompleted':
      return { ...state, provisioned: true };
    default:
      return undefined;
  }
}

function evolveField(state: LivingDevice, event: DeviceEvent): LivingDevice | undefined {
  switch (event.type) {
    case 'AttestationPassed':
      return { ...state, attestation: { passed: true, measurementSha256: event.data.measurementSha256 } };
    case 'AttestationFailed':
      return { ...state, attestation: { passed: false, reason: event.data.reason } };
    case 'FirmwareOffered':
      return { ...state, offer: event.data, ...(event.data.jobSequence !== undefined && { jobSequence: event.data.jobSequence }) };
    case 'UpgradeStarted':
      return { ...state, upgradePhase: 'downloading' };
    case 'UpgradeAnnounced':
      return { ...state, announcedOfferId: event.data.offerId };
    case 'UpgradeAdvanced':
      return { ...state, upgradePhase: event.data.phase };
    case 'FirmwareUpgraded': {
      const { upgradePhase: _, offer, ...rest } = state;
      const isOther = offer !== undefined && offer.offerId !== event.data.offerId;
      return { ...rest, ...(isOther && { offer }), givenUp: [], firmware: factsOf(event.data), upgradedOfferId: event.data.offerId };
    }
    case 'UpgradeFailed':
      return withoutOffer(state);
    case 'UpgradeCancelled':
      return { ...withoutOffer(state), cancelledOfferId: event.data.offerId };
    case 'CounterProven':
      return { ...state, provenCounter: event.data.counter };
    case 'RollbackRefused':
      return { ...state, rollbacks: [...state.rollbacks, `${event.data.releaseId}/${event.data.hop}`] };
    default:
      return undefined;
  }
}

function evolveIdentity(state: LivingDevice, event: DeviceEvent): LivingDevice | undefined {
  switch (event.type) {
    case 'CertificateRenewed':
    case 'OperationalCertificateIssued':
      return withCertificate(state, event.data);
    case 'CertificateExpired':
      return withCertificateStatus(state, event.data.serial, { status: 'expired' });
    case 'CertificateRevoked':
      return withCertificateStatus(state, event.data.serial, { status: 'revoked', revocationReason: event.data.reason });
    case 'TrustBundleFollowed':
      return { ...state, trustBundleVersion: event.data.version };
    case 'AttestationKeyEnrolled': {
      const { by: _, ...key } = event.data;
      // One that is enrolled while a return to service is ordered is for the generation that comes then.
      const generation = state.repair?.next?.generation ?? state.generation;
      const others = (state.attestationKeys ?? []).filter(known => known.generation !== generation);
      return { ...state, attestationKeys: [...others, { ...key, generation }] };
    }
    case 'DeviceTagged':
      return { ...state, tags: event.data.tags };
    case 'CloneSuspected':
      return { ...state, suspicions: [...state.suspicions, event.data.reason] };
    case 'DeviceReleased':
      return { ...state, suspicions: [] };
    case 'DeviceDecommissionOrdered':
      return { ...state, decommissionOrderSha256: event.data.orderSha256 };
    case 'DeviceDecommissioned':
      return { ...state, end: event.data };
    case 'KeyCustodyDestroyed':
      return { ...state, custodyDestroyed: true };
    default:
      return undefined;
  }
}

function evolveRepair(state: LivingDevice, event: DeviceEvent): LivingDevice | undefined {
  const { repair } = state;
  switch (event.type) {
    case 'DeviceTakenForRepair':
      return { ...state, repair: givenTo(repair, event.data.programmer) };
    case 'DebugUnlockRequested': {
      const { by: requestedBy, at, reason } = event.data;
      // What was disclosed stays so.
      const { orderSha256 } = repair?.unlock ?? {};
      const disclosed = orderSha256 === undefined ? {} : { orderSha256 };
      return { ...state, repair: { ...repair, unlock: { requestedBy, reason, ...(at && { requestedAt: at }), ...disclosed } } };
    }
    case 'DebugUnlockApproved':
      return { ...state, repair: { ...repair, ...(repair?.unlock && { unlock: { ...repair.unlock, approvedBy: event.data.by } }) } };
    case 'DebugUnlockOrdered':
      return { ...state, repair: { ...repair, unlock: { requestedBy: '', ...repair?.unlock, orderSha256: event.data.orderSha256 } } };
    case 'DeviceReturnOrdered': {
      const { certification: _, ...rest } = state;
      const { objId, generation } = event.data;
      return { ...rest, repair: { ...repair, next: { objId, generation } } };
    }
    case 'NextGenerationCertified': {
      const { objId, ...certificate } = event.data;
      const next = { objId, generation: state.generation + 1, ...repair?.next, certificate };
      return { ...withCertificate(state, certificate), repair: { ...repair, next } };
    }
    case 'DeviceReturnedToService':
      return returned(state, event.data);
    default:
      return undefined;
  }
}

function withoutOffer({ offer, upgradePhase: _, ...rest }: LivingDevice): LivingDevice {
  if (offer === undefined) return rest;
  const others = rest.givenUp.filter(({ releaseId }) => releaseId !== offer.releaseId);
  return { ...rest, givenUp: [offer, ...others].slice(0, maxGivenUp) };
}

/** More would have been offered and given up while a device was away than its memory is worth. */
const maxGivenUp = 8;

/** The standing offer, and those that were given up: whose images the device may prove. */
export const offersOf = ({ offer, givenUp }: LivingDevice): readonly Offer[] => (offer === undefined ? givenUp : [offer, ...givenUp]);

function factsOf({ releaseId, version, securityCounter, imageHash }: FirmwareFacts): FirmwareFacts {
  return { releaseId, version, securityCounter, imageHash };
}

/** Adds a certificate; the walk decides which one is in use. */
function withCertificate(
  state: LivingDevice,
  { serial, certificateSha256, publicKeySha256, icaId, notAfter, crlPartition }: IssuedCertificate,
): LivingDevice {
  const facts = { serial, certificateSha256, publicKeySha256, icaId, notAfter, ...partitionFact(crlPartition) };
  const certificate: DeviceCertificate = { ...facts, status: 'issued' };
  return { ...state, certificates: [...state.certificates, certificate] };
}

function withCertificateStatus(state: LivingDevice, serial: string, change: Partial<DeviceCertificate>): LivingDevice {
  return { ...state, certificates: state.certificates.map(known => (known.serial === serial ? { ...known, ...change } : known)) };
}

function withBurnedKey(state: LivingDevice, slot: ImageKind): LivingDevice {
  const key = state.bootKeys[slot];
  if (key === undefined) return state;
  return { ...state, bootKeys: { ...state.bootKeys, [slot]: { ...key, burned: true } } };
}

function returned(state: LivingDevice, data: DataOf<'DeviceReturnedToService'>): LivingDevice {
  const { objId, generation, serial } = data;
  const isKnown = state.certificates.some(certificate => certificate.serial === serial);
  const current = isKnown ? state : withCertificate(state, data);
  const { attestation: _, offer: __, repair: ___, upgradePhase: ____, ...rest } = current;
  return { ...rest, givenUp: [], objId, generation, objIds: [...state.objIds, objId], suspicions: [] };
}

/** Another programmer than the one whose unlock was approved: it has to be approved again. What was disclosed stays so. */
function givenTo(repair: Repair | undefined, programmer: string | undefined): Repair {
  if (programmer === undefined) return { ...repair };
  const { approvedBy: _, ...asked } = repair?.unlock ?? { requestedBy: '' };
  const isMoved = repair?.unlock !== undefined && repair.unlock.orderSha256 === undefined && repair.programmer !== programmer;
  return { ...repair, programmer, ...(isMoved && { unlock: asked }) };
}
