import { concat, equalBytes, fromBase64url, toBase64url, toHex } from '../../bytes.ts';
import { sha256, sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceCommand } from '../../domain/deviceCommands.ts';
import { requireReadyForApplication } from '../../domain/deviceManufacture.ts';
import { currentCertificate, type LivingDevice } from '../../domain/deviceState.ts';
import type { BoundFirmware, ImageKind } from '../../domain/jobEvents.ts';
import { type CreatedJob, requireBoundFirmware } from '../../domain/jobState.ts';
import { programmerStream } from '../../domain/programmer.ts';
import { importKey, pointOf, spkiOfPoint } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import type { Certificate } from '../../pki/parse.ts';
import { imageIds } from '../../production/fields.ts';
import { otpMap, publicOtp } from '../../production/otpMap.ts';
import { provesConfig, provesLock, type Receipt, verifyReceipt } from '../../production/receipt.ts';
import type { NegotiatedFacts } from '../../spdm/evidence.ts';
import { requirePolicy, type SpdmPolicy } from '../../spdm/policy.ts';
import { authorityOf } from '../authority/authority.ts';
import { chainOf } from '../authority/issuingCa.ts';
import { currentTrustBundle } from '../authority/trustBundle.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, executeAllIf } from '../base/context.ts';
import { idBytesOf, livingDevice } from '../base/livingDevice.ts';
import { watchProof } from '../base/programmerProof.ts';
import { askedSpdm, wirePolicy } from '../field/attestationPolicy.ts';
import type { WiredIdentity } from '../field/wiredIdentity.ts';
import { certifyDevice } from '../identity/enrolment.ts';
import { storedCertificate } from '../identity/storedCertificate.ts';
import { stopForClonedKey } from './clonedKey.ts';
import { assignBootKey, type SignedImage, signFor } from './images.ts';
import { receiptNonce, sessionNonce, type UnitInWork, unitInWork } from './units.ts';
import { unlockKeyId, unlockPasswordHash } from './unlockPassword.ts';
import { provenSession } from './wiredSession.ts';

/** The steps between grant and commit (R35–R56, R72–R79), in the order of the flow. Each is idempotent and names what it proves. */

/** R75–R79. `bundle` is signed by the root that the device will have. A key that another holder has stops the work (clonedKey.ts).
 *  @throws NusecError CSR_…, KEY_REFUSED, CONFLICT (another key than before), WEAK_OR_CLONED_KEY */
export async function certifyUnit(
  parts: Parts,
  programmer: string,
  grantId: string,
  csr: Uint8Array,
  by: Actor,
): Promise<WiredIdentity & { readonly bundle: Uint8Array }> {
  const { ctx } = parts;
  const { signed, condition } = await unitInWork(ctx, programmer, grantId);
  try {
    const issued = await certifyDevice(ctx, signed.uid, csr, by, condition);
    const spdm = wirePolicy(await askedSpdm(ctx, await livingDevice(ctx, signed.uid)));
    return { ...issued, spdm, bundle: await currentTrustBundle(ctx, await authorityOf(ctx), sha256Hex(issued.root)) };
  } catch (error) {
    if (error instanceof NusecError && error.code === 'WEAK_OR_CLONED_KEY') await stopForClonedKey(parts, signed, csr);
    // Another key than before may come from the chip; a request that is not signed by its key cannot.
    if (error instanceof NusecError && error.code.startsWith('CSR_')) await watchUnit(parts, signed, () => Promise.reject(error));
    throw error;
  }
}

/** R37–R39, R79: the bootloader, signed by the key that is about to be burned. What asks for it says which certificate the chip holds.
 *  @throws NusecError CONFLICT when that is another one */
export async function bootloaderFor(
  parts: Parts,
  programmer: string,
  grantId: string,
  certificateSha256: string,
  by: Actor,
): Promise<SignedImage> {
  const { ctx } = parts;
  const unit = await unitInWork(ctx, programmer, grantId);
  const certificate = currentCertificate(unit.device);
  if (certificate?.certificateSha256 !== certificateSha256) throw new NusecError('CONFLICT', 'this is not the certificate of this unit');
  return signFor(parts, await changed(ctx, unit, [{ type: 'InstallCertificate', serial: certificate.serial }], by), 'bl2', by);
}

export type BurnedSlot = { readonly slot: number; readonly sha256: string };
/** @param otp SHA-256 of each slot as read back */
export type InstalledBootloader = { readonly otp: readonly BurnedSlot[]; readonly imageHash: string };

/** R40–R42. @throws NusecError CONFLICT (another key or image than the assigned one) */
async function recordBootloader(parts: Parts, unit: UnitInWork, proof: InstalledBootloader, by: Actor): Promise<UnitInWork> {
  const { ctx } = parts;
  const { device: state, job: owner, signed } = unit;
  const key = state.bootKeys.bl2;
  if (key === undefined) throw new NusecError('DEVICE_STATE', 'no bootloader key is assigned');
  const { releaseId, version, securityCounter, imageHash } = requireBoundFirmware(owner, 'bl2');
  await watchUnit(parts, signed, async () => {
    await checkOtp(ctx, state, proof.otp);
    if (proof.imageHash !== imageHash) throw new NusecError('CONFLICT', 'the installed bootloader is not the one of the job');
  });
  const burned = { type: 'BurnBootKey', slot: 'bl2', keyId: key.keyId } as const;
  return changed(ctx, unit, [burned, { type: 'InstallBootloader', releaseId, version, securityCounter, imageHash }], by);
}

/** What the programmer brought of this unit. @throws what `verify` throws, with an alarm about the programmer when it does not hold */
export const watchUnit = <Result>({ alarms }: Parts, { programmer, uid }: UnitOf, verify: () => Promise<Result>): Promise<Result> =>
  watchProof(alarms, programmer, `of ${uid}`, verify);
type UnitOf = Pick<UnitInWork['signed'], 'programmer' | 'uid'>;

/** What the server gave to be burned into the public slots. */
async function givenOtp(ctx: Context, state: LivingDevice): Promise<ReadonlyMap<number, Uint8Array>> {
  const { bootKeys } = state;
  const certificate = currentCertificate(state);
  const point = bootKeys.bl2 && fromBase64url(bootKeys.bl2.publicKey).slice(-65);
  const anchors = certificate && chainOf(await authorityOf(ctx), certificate.icaId);
  const given: readonly (readonly [number, Uint8Array | undefined])[] = [
    [otpMap.bootKeyX.slot, point?.slice(1, 33)],
    [otpMap.bootKeyY.slot, point?.slice(33)],
    [otpMap.applicationKeyHash.slot, bootKeys.app && sha256(fromBase64url(bootKeys.app.publicKey))],
    [otpMap.rootCaHash.slot, anchors && sha256(anchors.root)],
    [otpMap.icaHash.slot, anchors && sha256(anchors.ica)],
  ];
  return new Map(given.filter((slot): slot is readonly [number, Uint8Array] => slot[1] !== undefined));
}

/** The unit signs what is burned: it must be what the server gave, slot for slot, or a foreign root would rule the device (T9, T11).
 *  A bootloader from before does not say; there the programmer's read-back is all that is known.
 *  @throws NusecError RECEIPT_REFUSED, with an alarm about the programmer */
export async function requireOwnOtp({ ctx, alarms }: Parts, state: LivingDevice, receipt: Receipt, programmer: string): Promise<void> {
  const given = await givenOtp(ctx, state);
  const isOwn = receipt.otpSha256 === undefined || equalBytes(receipt.otpSha256, sha256(publicOtp(slot => given.get(slot))));
  if (isOwn && (await isOwnSecret(ctx, state, receipt))) return;
  await alarms.raise({
    code: 'OTP_FOREIGN',
    subject: programmerStream(programmer),
    detail: `what is burned into ${state.uid} is not what the server gave`,
  });
  throw new NusecError('RECEIPT_REFUSED', 'what is burned is not what the server gave');
}

/** Else nobody could open the debug port for a repair, or somebody else could. */
async function isOwnSecret(ctx: Context, { uid }: LivingDevice, { secretOtpSha256 }: Receipt): Promise<boolean> {
  return secretOtpSha256 === undefined || equalBytes(secretOtpSha256, sha256(await unlockPasswordHash(ctx, uid)));
}

/** Coordinates of the key must have been read back; anchors when they are reported. */
async function checkOtp(ctx: Context, state: LivingDevice, otp: readonly BurnedSlot[]): Promise<void> {
  const expected = await givenOtp(ctx, state);
  const wrong = otp.find(({ slot, sha256: read }) => expected.has(slot) && toHex(sha256(expected.get(slot) ?? new Uint8Array())) !== read);
  if (wrong !== undefined) throw new NusecError('CONFLICT', `OTP slot ${wrong.slot} holds something else`);
  const isRead = [otpMap.bootKeyX.slot, otpMap.bootKeyY.slot].every(slot => otp.some(burned => burned.slot === slot));
  if (!isRead) throw new NusecError('BAD_REQUEST', 'both OTP slots of the boot key must have been read back');
}

/** R40–R42, R45–R49: what asks for the key says that bootloader and boot key are in the chip.
 *  @returns SubjectPublicKeyInfo, whose SHA-256 goes into OTP, and the hash of the unlock password, which goes there too */
export async function applicationKey(
  parts: Parts,
  programmer: string,
  grantId: string,
  installed: InstalledBootloader,
  by: Actor,
): Promise<{ readonly publicKey: Uint8Array; readonly unlockSha256: Uint8Array }> {
  const { ctx } = parts;
  const unit = await recordBootloader(parts, await unitInWork(ctx, programmer, grantId), installed, by);
  const { publicKey } = await assignBootKey(ctx, unit.device, 'app', by, unit.condition);
  return { publicKey: fromBase64url(publicKey), unlockSha256: await unlockPasswordHash(ctx, unit.device.uid) };
}

/** R43–R44, RULE-14: the bootloader itself signs that it runs and that the debug port is closed (T29).
 *  @throws NusecError COSE_SIGNATURE, RECEIPT_REFUSED */
async function recordLock(parts: Parts, unit: UnitInWork, receipt: Uint8Array, by: Actor): Promise<UnitInWork> {
  const { ctx } = parts;
  const { grantId, signed } = unit;
  const read = await watchUnit(parts, signed, async () => {
    const shown = await readReceipt(ctx, unit.device, receipt, receiptNonce('NuSEC lock receipt', grantId));
    if (shown.stage !== 'bl2') throw new NusecError('RECEIPT_REFUSED', 'the lock receipt must come from the bootloader');
    requireLocked(shown);
    requireOwnBootloader(shown, requireBoundFirmware(unit.job, 'bl2'));
    requireConfig(shown, unit.job);
    return shown;
  });
  await requireOwnOtp(parts, unit.device, read, signed.programmer);
  const receiptSha256 = await ctx.blobs.put(receipt);
  const isUnlockable = (read.otpMask & (1 << otpMap.deviceSecret.slot)) !== 0;
  const locked = { type: 'LockDebug', receiptSha256, ...(isUnlockable && { unlockKeyId }) } as const;
  const certified = encryptionKeyIn(read, receiptSha256);
  return changed(ctx, unit, [...burnedIn(read, unit, 'app'), locked, ...(certified === undefined ? [] : [certified])], by);
}

/** The key that the device signs to have made. @throws NusecError KEY_REFUSED for a point off the curve */
export function encryptionKeyIn({ encryptionKey }: Receipt, receiptSha256: string): CertifyEncryptionKey | undefined {
  if (encryptionKey === undefined) return undefined;
  const point = concat(Uint8Array.of(0x04), encryptionKey);
  importKey(spkiOfPoint(point));
  return { type: 'CertifyEncryptionKey', publicKey: toBase64url(point), receiptSha256 };
}
type CertifyEncryptionKey = Extract<DeviceCommand, { readonly type: 'CertifyEncryptionKey' }>;

/** A receipt that names the bootloader names that of the job. @throws NusecError RECEIPT_REFUSED */
function requireOwnBootloader({ images }: Receipt, { imageHash }: BoundFirmware): void {
  const shown = images.find(({ image }) => image === imageIds.bl2);
  if (shown !== undefined && toHex(shown.sha256) !== imageHash)
    throw new NusecError('RECEIPT_REFUSED', 'another bootloader runs than that of the job');
}

/** The chip itself signs its configuration words, or the word of the programmer is all there is. @throws NusecError RECEIPT_REFUSED */
function requireConfig(receipt: Receipt, { configWords }: CreatedJob): void {
  if (configWords !== undefined && !provesConfig(receipt, configWords))
    throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove the configuration words of the job');
}

/** Behind the lock they cannot be written any more, so an application that does not name them takes nothing back. */
export function requireSameConfig(receipt: Receipt, owner: CreatedJob): void {
  if (receipt.configWords !== undefined) requireConfig(receipt, owner);
}

/** A burn is recorded when the device's own OTP mask proves it. */
function burnedIn(receipt: Receipt, { device }: UnitInWork, slot: ImageKind): readonly DeviceCommand[] {
  const key = device.bootKeys[slot];
  const isBurned = (receipt.otpMask & (1 << otpMap.applicationKeyHash.slot)) !== 0;
  return key !== undefined && isBurned ? [{ type: 'BurnBootKey', slot, keyId: key.keyId }] : [];
}

/** @throws NusecError RECEIPT_REFUSED */
export function requireLocked(receipt: Receipt): void {
  if (!provesLock(receipt)) throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove that the debug port is locked');
  const burned = [otpMap.bootKeyX, otpMap.bootKeyY, otpMap.rootCaHash, otpMap.icaHash].reduce((mask, { slot }) => mask | (1 << slot), 0);
  if ((receipt.otpMask & burned) !== burned)
    throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove that boot key and trust anchors are burned');
}

/** A receipt of this device: signed by the certified key, for this registration, with this nonce.
 *  @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, RECEIPT_REFUSED, DEVICE_STATE (not certified) */
export async function readReceipt(ctx: Context, state: LivingDevice, receipt: Uint8Array, nonce: Uint8Array): Promise<Receipt> {
  const certificate = await certificateOf(ctx, state);
  const expected = { publicKey: certificate.spki, ...idBytesOf(state), nonce };
  const read = await verifyReceipt(receipt, expected);
  const isOther = read.certificateSha256 !== undefined && toHex(read.certificateSha256) !== currentCertificate(state)?.certificateSha256;
  if (isOther) throw new NusecError('RECEIPT_REFUSED', 'the device holds another certificate');
  return read;
}

async function certificateOf(ctx: Context, state: LivingDevice): Promise<Certificate> {
  const current = currentCertificate(state);
  if (current === undefined) throw new NusecError('DEVICE_STATE', 'the unit is not certified');
  return storedCertificate(ctx, current.certificateSha256);
}

/** R50–R51, R69: the device that was certified is at the other end of the programming session, not an interposer (T9).
 *  @param evidence of SPDM KEY_EXCHANGE, canonical JSON form  @throws NusecError SPDM_…, CHAIN_REFUSED */
async function recordSession(parts: Parts, unit: UnitInWork, evidence: Uint8Array, by: Actor): Promise<UnitInWork> {
  const { ctx } = parts;
  const { device: state, grantId, signed } = unit;
  const { der: leaf, spki } = await certificateOf(ctx, state);
  const { spdm, publicKey } = await askedSpdm(ctx, state);
  const nonce = sessionNonce(await ctx.blobs.get(signed.grantSha256));
  const expected = { leaf, leafKey: pointOf(spki), publicKey, nonce, uid: state.uid };
  requireAllowed(spdm, await watchUnit(parts, signed, () => provenSession(evidence, expected)));
  const evidenceSha256 = await ctx.blobs.put(evidence);
  return changed(ctx, unit, [{ type: 'AuthenticateSession', grantId, evidenceSha256 }], by);
}

/** A unit that was asked for less than its line allows is no other chip for that: the line may have changed since the programmer was told.
 *  @throws NusecError SPDM_UNSUPPORTED */
function requireAllowed(policy: SpdmPolicy, negotiated: NegotiatedFacts): void {
  try {
    requirePolicy(policy, negotiated);
  } catch (error) {
    if (!(error instanceof NusecError) || error.code !== 'SPDM_UNEXPECTED') throw error;
    throw new NusecError('SPDM_UNSUPPORTED', 'the line asks for more than the unit was asked for; ask it again', { cause: error });
  }
}

/** What shows that the application may be given, and to whom. */
export type ApplicationRequest = {
  readonly jobId: string;
  readonly uid: string;
  readonly objId: string;
  /** Of the lock, by the unit. */
  readonly receipt: Uint8Array;
  /** Of the session with it. */
  readonly evidence: Uint8Array;
};

/** R43–R44, R50–R53, RULE-3, RULE-5, RULE-14, I7: signed application firmware for exactly this UID, registration and job, to a unit that is locked
 *  and has authenticated itself. What is proven is recorded, also when the application is refused.
 *  @throws NusecError GRANT_REFUSED (another token), COSE_SIGNATURE, RECEIPT_REFUSED, SPDM_…, CHAIN_REFUSED, DEVICE_STATE, JOB_NOT_RUNNING, RELEASE_STATE */
export async function applicationFor(
  parts: Parts,
  programmer: string,
  grantId: string,
  request: ApplicationRequest,
  by: Actor,
): Promise<SignedImage> {
  const { ctx } = parts;
  const unit = await unitInWork(ctx, programmer, grantId);
  const { jobId, uid, objId } = unit.signed;
  await watchUnit(parts, unit.signed, async () => {
    if (request.jobId !== jobId || request.uid !== uid || request.objId !== objId)
      throw new NusecError('GRANT_REFUSED', 'job, UID and registration id are not those of the grant');
  });
  const ready = await recordSession(parts, await recordLock(parts, unit, request.receipt, by), request.evidence, by);
  requireReadyForApplication(ready.device, grantId);
  return signFor(parts, ready, 'app', by);
}

/** @returns the unit with its device as it is then */
async function changed(ctx: Context, unit: UnitInWork, commands: readonly DeviceCommand[], by: Actor): Promise<UnitInWork> {
  const { state } = await executeAllIf(ctx, unit.condition, device, deviceStream(unit.signed.uid), commands, by);
  return state.status === 'NONE' ? unit : { ...unit, device: state };
}
