import { equalBytes, fromBase64url, fromHex, toBase64url, toHex } from '../../bytes.ts';
import { sha256, sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import {
  type ProgrammerState,
  programmer,
  programmerStream,
  type RegisteredProgrammer,
  requireActiveProgrammer,
  requireUsableProgrammer,
} from '../../domain/programmer.ts';
import { formatVersion, type Version } from '../../domain/version.ts';
import { NusecError } from '../../errors.ts';
import { bootKeyId } from '../../keystore/bootKeys.ts';
import { attachTrailer, deviceTrailer } from '../../ota/build.ts';
import { isMcubootImage } from '../../ota/image.ts';
import { prepareRelease } from '../../ota/prepare.ts';
import { otpMap, publicOtp } from '../../production/otpMap.ts';
import { provesLock, type Receipt, verifyReceipt } from '../../production/receipt.ts';
import { jobQueries } from '../../projections/jobs.ts';
import { type ProgrammerPage, type ProgrammerRow, programmerQueries } from '../../projections/programmers.ts';
import { authorityOf } from '../authority/authority.ts';
import { chainOf } from '../authority/issuingCa.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { programmerProduct } from '../firmware/lines.ts';

/** The life of a programmer as the OEM steers it: prepared, locked, shipped, suspended, given up (R3–R34, T15). Certifying is in
 *  enrolment.ts, the shared key in kek.ts. */

/** Registration id of a programmer's boot key: a programmer has one life. */
const noObjId = new Uint8Array(16);

export async function registerProgrammer(ctx: Context, uid: string, name: string, by: Actor): Promise<RegisteredProgrammer> {
  return change(ctx, uid, { type: 'RegisterProgrammer', uid, model: name, by }, by);
}

/** @throws NusecError NOT_FOUND */
export async function programmerOf(ctx: Context, uid: string): Promise<RegisteredProgrammer> {
  return registered(await stateOf(ctx, programmer, programmerStream(uid)), uid);
}

function registered(state: ProgrammerState, uid: string): RegisteredProgrammer {
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no programmer ${uid}`);
  return state;
}

export async function listProgrammers(ctx: Context, page: ProgrammerPage): Promise<readonly ProgrammerRow[]> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['programmers', 'jobs'] });
  return programmerQueries(ctx.reads.db).page(page);
}

/** SecureBoot_NuLink3: one key pair per programmer, the private half stays in the keystore (R18–R21). @returns SubjectPublicKeyInfo, 91 bytes */
export async function programmerBootKey(ctx: Context, uid: string, by: Actor): Promise<Uint8Array> {
  const { bootKey } = await programmerOf(ctx, uid);
  const keyId = bootKey?.keyId ?? bootKeyId(fromHex(uid), noObjId, 'programmer');
  const publicKey = await ctx.bootKeys.ensure(keyId);
  await change(ctx, uid, { type: 'AssignProgrammerBootKey', keyId, publicKey: toBase64url(publicKey) }, by);
  return publicKey;
}

/** Signs firmware for one programmer with its own boot key (R22–R25). The body is kept: the lock receipt must show this very image.
 *  @returns MCUboot image @throws NusecError STATE (no boot key yet), PROGRAMMER_NOT_ACTIVE (suspended, stolen, given up), IMAGE_REFUSED, BAD_REQUEST */
export async function signProgrammerFirmware(
  ctx: Context,
  uid: string,
  version: Version,
  upload: Uint8Array,
  by = 'system:programmers',
): Promise<Uint8Array> {
  const state = await programmerOf(ctx, uid);
  if (state.status !== 'RETURNED') requireUsableProgrammer(state);
  const { bootKey } = state;
  if (bootKey === undefined) throw new NusecError('STATE', 'the programmer has no boot key yet');
  const counter = isMcubootImage(upload) ? {} : { securityCounter: 0 };
  const { body, digestHex, info } = prepareRelease(upload, {
    version,
    ...counter,
    ...(await programmerProduct(ctx)),
  });
  await ctx.blobs.put(body);
  const signature = await ctx.bootKeys.sign(bootKey.keyId, sha256(body));
  const publicKey = fromBase64url(bootKey.publicKey);
  await change(ctx, uid, { type: 'SignProgrammerFirmware', version: info.versionText, imageHash: digestHex }, by);
  return attachTrailer(body, deviceTrailer({ imageHash: fromHex(digestHex), publicKey, keyForm: 'whole', signature }));
}

/** The programmer's own receipt proves the burned key, the firmware and the lock (R20–R26).
 *  @param nonce 16 bytes, chosen by the OEM's tool  @throws NusecError COSE_SIGNATURE, RECEIPT_REFUSED, STATE */
export async function recordProgrammerLock(ctx: Context, uid: string, proof: { receipt: Uint8Array; nonce: Uint8Array }, by: Actor) {
  const state = await programmerOf(ctx, uid);
  if (state.bootKey === undefined) throw new NusecError('STATE', 'the programmer has no boot key yet');
  const receipt = await verifyReceipt(proof.receipt, { publicKey: authKeyOf(state), uid: fromHex(uid), nonce: proof.nonce });
  const firmware = provenFirmware(state, receipt);
  const anchors = await provenAnchors(ctx, state, receipt);
  const receiptSha256 = await ctx.blobs.put(proof.receipt);
  await change(ctx, uid, { type: 'BurnProgrammerBootKey', keyId: state.bootKey.keyId, ...anchors }, by);
  await change(ctx, uid, { type: 'InstallProgrammerFirmware', ...firmware }, by);
  return change(ctx, uid, { type: 'LockProgrammer', receiptSha256 }, by);
}

/** The very image that was signed for this programmer, in its version: other content that the server knows proves nothing. */
function provenFirmware(state: RegisteredProgrammer, receipt: Receipt): { version: string; imageHash: string } {
  if (!provesLock(receipt)) throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove the lock');
  const shown = receipt.images.map(image => ({ version: formatVersion(image.version), imageHash: toHex(image.sha256) }));
  const signed = state.signedFirmware.find(known =>
    shown.some(({ version, imageHash }) => imageHash === known.imageHash && version === known.version),
  );
  if (signed === undefined) throw new NusecError('RECEIPT_REFUSED', 'the receipt shows no firmware that was signed for this programmer');
  return signed;
}

/** Boot key and trust anchors are burned, with what the server gave when the receipt says with what. @returns what goes into the record */
async function provenAnchors(
  ctx: Context,
  { bootKey, certificates }: RegisteredProgrammer,
  { otpMask, otpSha256 }: Receipt,
): Promise<{ readonly rootCaSha256: string; readonly icaSha256: string }> {
  const certificate = certificates.at(-1);
  if (certificate === undefined || bootKey === undefined)
    throw new NusecError('STATE', 'the programmer has no certificate or boot key yet');
  const { ica, root } = chainOf(await authorityOf(ctx), certificate.icaId);
  const point = fromBase64url(bootKey.publicKey).slice(-65);
  const given = new Map<number, Uint8Array>([
    [otpMap.bootKeyX.slot, point.slice(1, 33)],
    [otpMap.bootKeyY.slot, point.slice(33)],
    [otpMap.rootCaHash.slot, sha256(root)],
    [otpMap.icaHash.slot, sha256(ica)],
  ]);
  const mask = [...given.keys()].reduce((bits, slot) => bits | (1 << slot), 0);
  if ((otpMask & mask) !== mask) throw new NusecError('RECEIPT_REFUSED', 'boot key and trust anchors are not all burned');
  const isOwn = otpSha256 === undefined || equalBytes(otpSha256, sha256(publicOtp(slot => given.get(slot))));
  if (!isOwn) throw new NusecError('RECEIPT_REFUSED', 'what is burned is not what the server gave');
  return { rootCaSha256: sha256Hex(root), icaSha256: sha256Hex(ica) };
}

/** The AUTH key it was certified with. @returns SubjectPublicKeyInfo @throws NusecError STATE */
export function authKeyOf(state: RegisteredProgrammer): Uint8Array {
  if (state.publicKey === undefined || state.certificates.length === 0) throw new NusecError('STATE', 'the programmer is not certified');
  return fromBase64url(state.publicKey);
}

/** Every machine call begins here: a programmer that is not active is refused within one request (I17, T15). @throws NusecError PROGRAMMER_NOT_ACTIVE */
export async function activeProgrammer(ctx: Context, uid: string): Promise<RegisteredProgrammer> {
  const state = await stateOf(ctx, programmer, programmerStream(uid));
  requireActiveProgrammer(state);
  return state;
}

export const shipProgrammer = (ctx: Context, uid: string, to: string, by: Actor) => change(ctx, uid, { type: 'ShipProgrammer', to }, by);
/** The first call from the contract manufacturer: SHIPPED → ACTIVE. @throws NusecError PROGRAMMER_NOT_ACTIVE */
export const checkInProgrammer = (ctx: Context, uid: string, by: Actor) => change(ctx, uid, { type: 'CheckInProgrammer' }, by);

const suspendedReason = 'programmer-suspended';

/** Certificate on hold, allotments frozen. */
export async function suspendProgrammer(ctx: Context, uid: string, reason: string, by: Actor) {
  const state = await change(ctx, uid, { type: 'SuspendProgrammer', reason, by }, by);
  await freezeAllotments(ctx, uid, suspendedReason, by);
  return state;
}

export async function resumeProgrammer(ctx: Context, uid: string, by: Actor) {
  const state = await change(ctx, uid, { type: 'ResumeProgrammer', by }, by);
  for (const { job_id, frozen_reason } of await allotmentsOf(ctx, uid)) {
    if (frozen_reason !== suspendedReason) continue;
    const thaw = { type: 'ThawAllotment', lifts: suspendedReason, reason: 'programmer-resumed', by } as const;
    await execute(ctx, allotment, allotmentStream(job_id, uid), thaw, by);
  }
  return state;
}

/** One command takes certificate, allotments and with them every open grant (silence 10, T15). */
export async function reportStolen(ctx: Context, uid: string, note: string | undefined, by: Actor) {
  const state = await change(ctx, uid, { type: 'ReportProgrammerStolen', by, ...(note !== undefined && { note }) }, by);
  await freezeAllotments(ctx, uid, 'programmer-stolen', by);
  return state;
}

export async function revokeProgrammer(ctx: Context, uid: string, reason: string, by: Actor) {
  const state = await change(ctx, uid, { type: 'RevokeProgrammer', reason, by }, by);
  await freezeAllotments(ctx, uid, 'programmer-revoked', by);
  return state;
}

export const returnProgrammer = (ctx: Context, uid: string, by: Actor) => change(ctx, uid, { type: 'ReturnProgrammer', by }, by);
export const retireProgrammer = (ctx: Context, uid: string, by: Actor) => change(ctx, uid, { type: 'RetireProgrammer', by }, by);

async function freezeAllotments(ctx: Context, uid: string, reason: string, by: Actor): Promise<void> {
  for (const { job_id, status } of await allotmentsOf(ctx, uid)) {
    if (status === 'CLOSED') continue;
    await execute(ctx, allotment, allotmentStream(job_id, uid), { type: 'FreezeAllotment', reason, by }, by);
  }
}

async function allotmentsOf(ctx: Context, uid: string) {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['jobs'] });
  return jobQueries(ctx.reads.db).allotmentsOf(uid);
}

async function change(
  ctx: Context,
  uid: string,
  command: Parameters<typeof programmer.decide>[0],
  by: Actor,
): Promise<RegisteredProgrammer> {
  return registered((await execute(ctx, programmer, programmerStream(uid), command, by)).state, uid);
}
