import type { Actor, IsoTime } from './actor.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import { refuse, requireCount } from './rules.ts';
import { statusAfter, type Walk } from './walk.ts';

/** A NuLink3 programmer: prepared at the OEM (R1–R34), shipped to a contract manufacturer, trusted while ACTIVE.
 *  Stream `programmer-{uid}`.
 *  BLANK → ENROLLED → CERTIFIED → FUSED → LOCKED → READY → SHIPPED → ACTIVE ⇄ SUSPENDED → STOLEN | REVOKED | RETURNED → READY | RETIRED
 *  Event names are unique over all streams, hence the prefix. */

export type ProgrammerCertificate = {
  /** 16 bytes, hex. */
  readonly serial: string;
  /** SHA-256 of the DER, hex; the certificate itself is a blob. */
  readonly certificateSha256: string;
  readonly icaId: string;
  readonly notAfter: IsoTime;
  /** Which list of its authority it is on when it is revoked; default: the first one. */
  readonly crlPartition?: number;
};

export type ProgrammerEvent =
  | { readonly type: 'ProgrammerRegistered'; readonly data: { readonly uid: string; readonly model: string; readonly by: Actor } }
  | { readonly type: 'KeyEnrolled'; readonly data: { readonly publicKey: string; readonly publicKeySha256: string } }
  | { readonly type: 'ProgrammerCertified'; readonly data: ProgrammerCertificate }
  | { readonly type: 'ProgrammerCertificateRenewed'; readonly data: ProgrammerCertificate }
  | { readonly type: 'ProgrammerBootKeyAssigned'; readonly data: { readonly keyId: string; readonly publicKey: string } }
  | {
      readonly type: 'ProgrammerBootKeyBurned';
      readonly data: { readonly keyId: string; readonly rootCaSha256: string; readonly icaSha256: string };
    }
  | { readonly type: 'ProgrammerFirmwareSigned'; readonly data: { readonly version: string; readonly imageHash: string } }
  | { readonly type: 'ProgrammerFirmwareInstalled'; readonly data: { readonly version: string; readonly imageHash: string } }
  | { readonly type: 'ProgrammerLocked'; readonly data: { readonly receiptSha256?: string } }
  | { readonly type: 'KekAgreed'; readonly data: { readonly epoch: number; readonly keyId: string } }
  | { readonly type: 'ProgrammerShipped'; readonly data: { readonly to: string } }
  | { readonly type: 'ProgrammerCheckedIn'; readonly data: { readonly firmwareVersion?: string } }
  | { readonly type: 'ProgrammerSuspended'; readonly data: { readonly reason: string; readonly by: Actor } }
  | { readonly type: 'ProgrammerResumed'; readonly data: { readonly by: Actor } }
  | { readonly type: 'ProgrammerReportedStolen'; readonly data: { readonly by: Actor; readonly note?: string } }
  | { readonly type: 'ProgrammerRevoked'; readonly data: { readonly reason: string; readonly by: Actor } }
  | { readonly type: 'ProgrammerReturned'; readonly data: { readonly by: Actor } }
  | { readonly type: 'ProgrammerRetired'; readonly data: { readonly by: Actor } };

export type ProgrammerCommand =
  | { readonly type: 'RegisterProgrammer'; readonly uid: string; readonly model: string; readonly by: Actor }
  | { readonly type: 'EnrolProgrammerKey'; readonly publicKey: string; readonly publicKeySha256: string }
  | ({ readonly type: 'CertifyProgrammer' } & ProgrammerCertificate)
  | ({ readonly type: 'RenewProgrammerCertificate' } & ProgrammerCertificate)
  | { readonly type: 'AssignProgrammerBootKey'; readonly keyId: string; readonly publicKey: string }
  | { readonly type: 'BurnProgrammerBootKey'; readonly keyId: string; readonly rootCaSha256: string; readonly icaSha256: string }
  | { readonly type: 'SignProgrammerFirmware'; readonly version: string; readonly imageHash: string }
  | { readonly type: 'InstallProgrammerFirmware'; readonly version: string; readonly imageHash: string }
  | { readonly type: 'LockProgrammer'; readonly receiptSha256?: string }
  | { readonly type: 'AgreeKek'; readonly epoch: number; readonly keyId: string }
  | { readonly type: 'ShipProgrammer'; readonly to: string }
  | { readonly type: 'CheckInProgrammer'; readonly firmwareVersion?: string }
  | { readonly type: 'SuspendProgrammer'; readonly reason: string; readonly by: Actor }
  | { readonly type: 'ResumeProgrammer'; readonly by: Actor }
  | { readonly type: 'ReportProgrammerStolen'; readonly by: Actor; readonly note?: string }
  | { readonly type: 'RevokeProgrammer'; readonly reason: string; readonly by: Actor }
  | { readonly type: 'ReturnProgrammer'; readonly by: Actor }
  | { readonly type: 'RetireProgrammer'; readonly by: Actor };

export type ProgrammerStatus =
  | 'BLANK'
  | 'ENROLLED'
  | 'CERTIFIED'
  | 'FUSED'
  | 'LOCKED'
  | 'READY'
  | 'SHIPPED'
  | 'ACTIVE'
  | 'SUSPENDED'
  | 'STOLEN'
  | 'REVOKED'
  | 'RETURNED'
  | 'RETIRED';

export const programmerWalk: Walk<ProgrammerEvent, ProgrammerStatus> = {
  KeyEnrolled: 'ENROLLED',
  ProgrammerCertified: 'CERTIFIED',
  ProgrammerBootKeyBurned: 'FUSED',
  ProgrammerLocked: 'LOCKED',
  KekAgreed: before => (before === 'LOCKED' || before === 'RETURNED' ? 'READY' : before),
  ProgrammerShipped: 'SHIPPED',
  ProgrammerCheckedIn: 'ACTIVE',
  ProgrammerResumed: 'ACTIVE',
  ProgrammerSuspended: 'SUSPENDED',
  ProgrammerReportedStolen: 'STOLEN',
  ProgrammerRevoked: 'REVOKED',
  ProgrammerReturned: 'RETURNED',
  ProgrammerRetired: 'RETIRED',
};

export type RegisteredProgrammer = {
  readonly status: ProgrammerStatus;
  readonly uid: string;
  readonly model: string;
  readonly publicKey?: string;
  readonly publicKeySha256?: string;
  /** All certificates ever issued to it, newest last. */
  readonly certificates: readonly ProgrammerCertificate[];
  readonly bootKey?: { readonly keyId: string; readonly publicKey: string; readonly burned: boolean };
  readonly firmware?: { readonly version: string; readonly imageHash: string };
  /** Signed for this programmer; the newest last. */
  readonly signedFirmware: readonly { readonly version: string; readonly imageHash: string }[];
  /** The newest AES_NuLink3: its epoch and where the keystore has it. */
  readonly kek?: { readonly epoch: number; readonly keyId: string };
  readonly shippedTo?: string;
};

export type ProgrammerState = { readonly status: 'NONE' } | RegisteredProgrammer;

export const programmerStream = (uid: string): string => `programmer-${uid}`;

/** Only an active programmer reserves, imports and asks for firmware (I17).
 *  @throws NusecError PROGRAMMER_NOT_ACTIVE */
export function requireActiveProgrammer(state: ProgrammerState): asserts state is RegisteredProgrammer & { readonly status: 'ACTIVE' } {
  requireStatus(state, ['ACTIVE'], 'this request', 'PROGRAMMER_NOT_ACTIVE');
}

/** Images that were signed for one programmer in its life. */
const maxSignedImages = 1000;

const outOfUse: readonly string[] = ['SUSPENDED', 'STOLEN', 'REVOKED', 'RETURNED', 'RETIRED'];

/** Units, packages and firmware are meant for it: it is being prepared, or works.
 *  @throws NusecError NOT_FOUND, PROGRAMMER_NOT_ACTIVE */
export function requireUsableProgrammer(state: ProgrammerState): asserts state is RegisteredProgrammer {
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such programmer');
  if (outOfUse.includes(state.status)) refuse('PROGRAMMER_NOT_ACTIVE', `this programmer is ${state.status}`);
}

function decide(command: ProgrammerCommand, state: ProgrammerState): readonly ProgrammerEvent[] {
  if (command.type === 'RegisterProgrammer') return register(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'this programmer is not registered');
  switch (command.type) {
    case 'EnrolProgrammerKey':
      return enrolKey(command, state);
    case 'CertifyProgrammer':
      return certify(command, state);
    case 'RenewProgrammerCertificate':
      return renew(command, state);
    case 'AssignProgrammerBootKey':
      return assignBootKey(command, state);
    case 'BurnProgrammerBootKey':
      return burnBootKey(command, state);
    case 'SignProgrammerFirmware':
      return signFirmware(command, state);
    case 'InstallProgrammerFirmware':
      return installFirmware(command, state);
    case 'LockProgrammer':
      return lock(command, state);
    case 'AgreeKek':
      return agreeKek(command, state);
    case 'ShipProgrammer':
      if (state.status === 'SHIPPED' && state.shippedTo === command.to) return [];
      requireStatus(state, ['READY'], 'shipping');
      return [{ type: 'ProgrammerShipped', data: { to: command.to } }];
    case 'CheckInProgrammer':
      return checkIn(command, state);
    case 'SuspendProgrammer':
      if (state.status === 'SUSPENDED') return [];
      requireStatus(state, ['ACTIVE'], 'suspending');
      return [{ type: 'ProgrammerSuspended', data: { reason: command.reason, by: command.by } }];
    case 'ResumeProgrammer':
      if (state.status === 'ACTIVE') return [];
      requireStatus(state, ['SUSPENDED'], 'resuming');
      return [{ type: 'ProgrammerResumed', data: { by: command.by } }];
    case 'ReportProgrammerStolen':
      return reportStolen(command, state);
    case 'RevokeProgrammer':
      if (state.status === 'REVOKED') return [];
      if (state.status === 'RETIRED') refuse('STATE', 'a retired programmer is no longer trusted anyway');
      return [{ type: 'ProgrammerRevoked', data: { reason: command.reason, by: command.by } }];
    case 'ReturnProgrammer':
      if (state.status === 'RETURNED') return [];
      requireStatus(state, ['SHIPPED', 'ACTIVE', 'SUSPENDED'], 'returning');
      return [{ type: 'ProgrammerReturned', data: { by: command.by } }];
    case 'RetireProgrammer':
      if (state.status === 'RETIRED') return [];
      requireStatus(state, ['BLANK', 'ENROLLED', 'CERTIFIED', 'FUSED', 'LOCKED', 'READY', 'RETURNED'], 'retiring');
      return [{ type: 'ProgrammerRetired', data: { by: command.by } }];
  }
}

function register({ uid, model, by }: Of<ProgrammerCommand, 'RegisterProgrammer'>, state: ProgrammerState): readonly ProgrammerEvent[] {
  if (state.status !== 'NONE') {
    return state.model === model ? [] : refuse('CONFLICT', 'this programmer is registered with another model');
  }
  return [{ type: 'ProgrammerRegistered', data: { uid, model, by } }];
}

/** One AUTH key per life: a second key needs a new registration after retirement. */
function enrolKey(command: Of<ProgrammerCommand, 'EnrolProgrammerKey'>, state: RegisteredProgrammer): readonly ProgrammerEvent[] {
  if (state.publicKeySha256 === command.publicKeySha256) return [];
  if (state.publicKeySha256 !== undefined) refuse('CONFLICT', 'this programmer already has another key');
  requireStatus(state, ['BLANK'], 'enrolling a key');
  return [{ type: 'KeyEnrolled', data: { publicKey: command.publicKey, publicKeySha256: command.publicKeySha256 } }];
}

function certify(
  { type: _, ...certificate }: Of<ProgrammerCommand, 'CertifyProgrammer'>,
  state: RegisteredProgrammer,
): readonly ProgrammerEvent[] {
  if (hasCertificate(state, certificate.serial)) return [];
  requireStatus(state, ['ENROLLED'], 'certifying');
  return [{ type: 'ProgrammerCertified', data: certificate }];
}

function renew(
  { type: _, ...certificate }: Of<ProgrammerCommand, 'RenewProgrammerCertificate'>,
  state: RegisteredProgrammer,
): readonly ProgrammerEvent[] {
  if (hasCertificate(state, certificate.serial)) return [];
  requireStatus(state, ['CERTIFIED', 'FUSED', 'LOCKED', 'READY', 'SHIPPED', 'ACTIVE'], 'renewing the certificate');
  return [{ type: 'ProgrammerCertificateRenewed', data: certificate }];
}

function hasCertificate(state: RegisteredProgrammer, serial: string): boolean {
  return state.certificates.some(certificate => certificate.serial === serial);
}

/** Never a second boot key: asking again gives the first one. */
function assignBootKey(command: Of<ProgrammerCommand, 'AssignProgrammerBootKey'>, state: RegisteredProgrammer): readonly ProgrammerEvent[] {
  if (state.bootKey !== undefined) return [];
  requireStatus(state, ['CERTIFIED'], 'assigning the boot key');
  return [{ type: 'ProgrammerBootKeyAssigned', data: { keyId: command.keyId, publicKey: command.publicKey } }];
}

function burnBootKey(command: Of<ProgrammerCommand, 'BurnProgrammerBootKey'>, state: RegisteredProgrammer): readonly ProgrammerEvent[] {
  if (state.bootKey === undefined) refuse('STATE', 'no boot key has been assigned');
  if (state.bootKey.keyId !== command.keyId) refuse('CONFLICT', 'another boot key was assigned');
  if (state.bootKey.burned) return [];
  requireStatus(state, ['CERTIFIED'], 'burning the boot key');
  const { keyId, rootCaSha256, icaSha256 } = command;
  return [{ type: 'ProgrammerBootKeyBurned', data: { keyId, rootCaSha256, icaSha256 } }];
}

function signFirmware(
  { version, imageHash }: Of<ProgrammerCommand, 'SignProgrammerFirmware'>,
  state: RegisteredProgrammer,
): readonly ProgrammerEvent[] {
  if (state.signedFirmware.some(known => known.imageHash === imageHash)) return [];
  if (state.status !== 'RETURNED') requireUsableProgrammer(state);
  if (state.signedFirmware.length >= maxSignedImages) refuse('RATE_LIMITED', `at most ${maxSignedImages} images for one programmer`);
  return [{ type: 'ProgrammerFirmwareSigned', data: { version, imageHash } }];
}

function installFirmware(
  command: Of<ProgrammerCommand, 'InstallProgrammerFirmware'>,
  state: RegisteredProgrammer,
): readonly ProgrammerEvent[] {
  if (state.firmware?.imageHash === command.imageHash) return [];
  requireStatus(state, ['FUSED', 'RETURNED'], 'installing firmware');
  return [{ type: 'ProgrammerFirmwareInstalled', data: { version: command.version, imageHash: command.imageHash } }];
}

function lock(command: Of<ProgrammerCommand, 'LockProgrammer'>, state: RegisteredProgrammer): readonly ProgrammerEvent[] {
  if (state.status === 'LOCKED') return [];
  requireStatus(state, ['FUSED'], 'locking');
  if (state.firmware === undefined) refuse('STATE', 'locking needs installed firmware');
  return [{ type: 'ProgrammerLocked', data: command.receiptSha256 === undefined ? {} : { receiptSha256: command.receiptSha256 } }];
}

/** Epochs rise by one; a returned programmer becomes ready with a fresh key (R27–R34). */
function agreeKek({ epoch, keyId }: Of<ProgrammerCommand, 'AgreeKek'>, state: RegisteredProgrammer): readonly ProgrammerEvent[] {
  if (state.kek?.epoch === epoch && state.kek.keyId === keyId) return [];
  requireStatus(state, ['LOCKED', 'READY', 'SHIPPED', 'ACTIVE', 'RETURNED'], 'agreeing a key');
  requireCount(epoch, 1, 'the epoch');
  if (epoch <= (state.kek?.epoch ?? 0)) refuse('CONFLICT', 'the epoch of AES_NuLink3 must rise');
  return [{ type: 'KekAgreed', data: { epoch, keyId } }];
}

function checkIn({ firmwareVersion }: Of<ProgrammerCommand, 'CheckInProgrammer'>, state: RegisteredProgrammer): readonly ProgrammerEvent[] {
  if (state.status === 'ACTIVE') return [];
  requireStatus(state, ['SHIPPED'], 'checking in', 'PROGRAMMER_NOT_ACTIVE');
  return [{ type: 'ProgrammerCheckedIn', data: firmwareVersion === undefined ? {} : { firmwareVersion } }];
}

function reportStolen(
  { by, note }: Of<ProgrammerCommand, 'ReportProgrammerStolen'>,
  state: RegisteredProgrammer,
): readonly ProgrammerEvent[] {
  if (state.status === 'STOLEN') return [];
  requireStatus(state, ['LOCKED', 'READY', 'SHIPPED', 'ACTIVE', 'SUSPENDED', 'RETURNED'], 'reporting a theft');
  return [{ type: 'ProgrammerReportedStolen', data: note === undefined ? { by } : { by, note } }];
}

function evolve(state: ProgrammerState, event: ProgrammerEvent): ProgrammerState {
  if (event.type === 'ProgrammerRegistered') {
    return { status: 'BLANK', uid: event.data.uid, model: event.data.model, certificates: [], signedFirmware: [] };
  }
  if (state.status === 'NONE') return state;
  return withFacts({ ...state, status: statusAfter(programmerWalk, state.status, event.type) }, event);
}

function withFacts(state: RegisteredProgrammer, event: ProgrammerEvent): RegisteredProgrammer {
  switch (event.type) {
    case 'KeyEnrolled':
      return { ...state, publicKey: event.data.publicKey, publicKeySha256: event.data.publicKeySha256 };
    case 'ProgrammerCertified':
    case 'ProgrammerCertificateRenewed':
      return { ...state, certificates: [...state.certificates, event.data] };
    case 'ProgrammerBootKeyAssigned':
      return { ...state, bootKey: { ...event.data, burned: false } };
    case 'ProgrammerBootKeyBurned':
      return state.bootKey === undefined ? state : { ...state, bootKey: { ...state.bootKey, burned: true } };
    case 'ProgrammerFirmwareSigned':
      return { ...state, signedFirmware: [...state.signedFirmware, event.data] };
    case 'ProgrammerFirmwareInstalled':
      return { ...state, firmware: event.data };
    case 'KekAgreed':
      return { ...state, kek: event.data };
    case 'ProgrammerShipped':
      return { ...state, shippedTo: event.data.to };
    default:
      return state;
  }
}

export const programmer: Decider<ProgrammerCommand, ProgrammerState, ProgrammerEvent> = {
  initialState: { status: 'NONE' },
  decide,
  evolve,
};
