import { setTimeout as sleep } from 'node:timers/promises';
import { toHex, utf8 } from '../../bytes.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { Offer } from '../../domain/deviceEvents.ts';
import { requireConnectable } from '../../domain/deviceField.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { NusecError } from '../../errors.ts';
import type { ImageState } from '../../ota/measurementIndex.ts';
import type { Alarms } from '../base/alarms.ts';
import { execute, stateOf } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import type { Answer, PerDeviceQueue } from '../base/perDeviceQueue.ts';
import { answeredThrough } from './deviceChannel.ts';
import { type Gathered, type GatheringParts, gather, unreachable, type Via, type Way, waysTo } from './evidenceGathering.ts';
import { type Judged, judgeEvidence } from './evidenceJudgement.ts';
import { blameGateway } from './gatewayFaults.ts';
import type { Measured } from './referenceValues.ts';
import type { Refusal } from './refusal.ts';

/** Attestation (R84, R85): the nonce is always the server's, the evidence is verified here from its raw bytes, whoever brought it. */

type AttestationResult = {
  /** `unproven`: what came is no proof for or against the device; the gateway that brought it is to blame.
   *  `unsupported`: the device does not speak what it was asked, and so has not failed. */
  readonly result: 'passed' | 'failed' | 'unproven' | 'unsupported';
  readonly reason?: string;
  readonly evidenceSha256?: string;
  readonly via: Via;
  readonly imageHash?: string;
  readonly version?: string;
};

export type Attestation = {
  /** Attests now. @throws NusecError NOT_FOUND, DEVICE_STATE (I11), DEVICE_UNREACHABLE, RATE_LIMITED */
  attest(uid: string, wish?: AttestationWish): Promise<AttestationResult>;
};

type AttestationWish = {
  /** Which way first; its own connection before a gateway when not given. */
  readonly via?: Via | undefined;
};

export type AttestationParts = Omit<GatheringParts, 'pause'> & {
  readonly alarms: Alarms;
  readonly queue: PerDeviceQueue;
  /** What the device said of this image in the hello of its own connection. Asked only where the evidence has no measurement of it. */
  readonly saidState: (uid: string, imageHash: string) => ImageState | undefined;
};

const nonceBytes = 32;
const by = 'system:attestation';

export function createAttestation(parts: AttestationParts): Attestation {
  const { ctx, queue, chainJudge } = parts;
  const attest = async (uid: string, { via: wish }: AttestationWish, answer: Answer): Promise<AttestationResult> => {
    const state = await livingDevice(ctx, uid);
    requireConnectable(state);
    const asking = { ...parts, channel: answeredThrough(parts.channel, answer), pause: (ms: number) => answer(sleep(ms)) };
    const { proof, liars } = await seekProof(asking, state, wish);
    await blame(parts, uid, proof, liars);
    if (proof === undefined) return unproven(liars);
    const { via } = proof.way;
    if ('refusal' in proof && proof.refusal.code === 'SPDM_UNSUPPORTED')
      return { result: 'unsupported', reason: proof.refusal.detail, via };
    if ('refusal' in proof) return recordFailure(parts, uid, via, proof.refusal, proof.bytes);
    if (proof.chain !== undefined) chainJudge.remember(uid, proof.chain);
    return recordSuccess(parts, uid, via, proof.measured, proof.bytes);
  };
  return { attest: (uid, wish = {}) => queue.run(uid, answer => attest(uid, wish, answer)) };
}

/** What one way brought and the device is to answer for. */
type Proof = { readonly way: Way; readonly bytes: Uint8Array; readonly denies?: Denial } & (
  | { readonly measured: Measured; readonly chain?: Uint8Array }
  | { readonly refusal: Refusal }
);
/** A verdict that says something else than the good evidence beside it. */
type Denial = { readonly gathered: Gathered; readonly contradiction: string };
/** What a gateway brought and the device has not signed. */
type Lie = { readonly gatewayId: string; readonly gathered: Gathered; readonly refusal: Refusal };
type Sought = { readonly proof?: Proof; readonly liars: readonly Lie[] };

/** Asks one way after the other, each with a nonce of its own, until the device has proved or disproved itself: what a gateway brings and the
 *  device has not signed says nothing about the device.
 *  @throws NusecError DEVICE_UNREACHABLE when no way gives an answer */
async function seekProof(parts: GatheringParts, state: LivingDevice, wish: Via | undefined): Promise<Sought> {
  const liars: Lie[] = [];
  let silence = unreachable(state.uid, wish);
  for (const way of waysTo(parts, state.uid, wish)) {
    if (wish === 'gateway' && way.via === 'mqtt' && liars.length === 0) break;
    const asked = await askOneWay(parts, state, way).catch(error => {
      if (!(error instanceof NusecError) || error.code !== 'DEVICE_UNREACHABLE') throw error;
      silence = error;
    });
    if (asked === undefined) continue;
    if (!('gatewayId' in asked)) return { proof: asked, liars };
    liars.push(asked);
  }
  if (liars.length === 0) throw silence;
  return { liars };
}

async function askOneWay(parts: GatheringParts, state: LivingDevice, way: Way): Promise<Proof | Lie> {
  const nonce = parts.ctx.randomBytes(nonceBytes);
  const gathered = await gather(parts, state.uid, way, nonce);
  const judged: Judged =
    'refusal' in gathered ? { refusal: gathered.refusal, isSigned: false } : await judgeEvidence(parts, state, nonce, gathered.evidence);
  const bytes = gathered.bytes ?? new Uint8Array();
  if ('measured' in judged) {
    const contradiction = contradictionOf(gathered, judged.measured);
    const denies = contradiction === undefined ? {} : { denies: { gathered, contradiction } };
    return { way, bytes, measured: judged.measured, ...('evidence' in gathered && { chain: gathered.evidence.chain }), ...denies };
  }
  const { refusal, isSigned } = judged;
  return way.via === 'gateway' && !isSigned ? { gatewayId: way.gatewayId, gathered, refusal } : { way, bytes, refusal };
}

/** A gateway that itself says that its evidence fails may be right: the device on its own connection, or a second gateway, can confirm it.
 *  One that says `passed` of what does not hold contradicts itself. */
const admits = ({ gathered }: Lie): boolean => gathered.verdict?.value?.verdict === 'failed';

async function blame(parts: AttestationParts, uid: string, proof: Proof | undefined, liars: readonly Lie[]): Promise<void> {
  const confirmed = proof === undefined ? await suspectTogether(parts, uid, liars) : confirmedBy(proof, liars);
  for (const lie of liars) if (!confirmed.includes(lie)) await blameFor(parts, uid, lie);
  const denying = proof?.denies;
  if (denying?.gathered.way.via !== 'gateway') return;
  const fault = { uid, code: 'GATEWAY_VERDICT', detail: denying.contradiction };
  await blameGateway(parts, denying.gathered.way.gatewayId, 'verdict', { ...fault, ...broughtBy(denying.gathered) });
}

function contradictionOf({ verdict }: Gathered, { measurementSha256, spdmVersion }: Measured): string | undefined {
  const value = verdict?.value;
  if (value === undefined) return undefined;
  if (value.verdict !== 'passed') return `says ${value.verdict} of a device whose evidence is good`;
  if (value.spdmVersion !== undefined && value.spdmVersion !== spdmVersion) return 'names another SPDM version than the evidence has';
  const named = value.measurementSha256;
  return named === undefined || toHex(named) === measurementSha256 ? undefined : 'names other measurements than the evidence has';
}

const confirmedBy = (proof: Proof, liars: readonly Lie[]): readonly Lie[] =>
  'refusal' in proof ? liars.filter(lie => admits(lie) && lie.refusal.code === proof.refusal.code) : [];

/** Two gateways that bring a false signature and say so: a clone, or two that lie together. The device is suspected and stays in use (T8, T20). */
async function suspectTogether({ ctx }: AttestationParts, uid: string, liars: readonly Lie[]): Promise<readonly Lie[]> {
  const witnesses = liars.filter(lie => admits(lie) && lie.refusal.code === 'SPDM_SIGNATURE');
  if (witnesses.length < 2) return [];
  const evidence = `a false signature by gateways ${witnesses.map(({ gatewayId }) => gatewayId).join(' and ')}`;
  const suspicion = { reason: 'attestation-signature', evidence, by, byGateway: true } as const;
  await execute(ctx, device, deviceStream(uid), { type: 'SuspectClone', ...suspicion }, by);
  return witnesses;
}

const broughtBy = ({ bytes, verdict }: Gathered) => ({ evidence: bytes, verdict: verdict?.signed });

const blameFor = (parts: AttestationParts, uid: string, { gatewayId, gathered, refusal }: Lie): Promise<void> =>
  blameGateway(parts, gatewayId, 'evidence', { uid, ...refusal, ...broughtBy(gathered) });

const unproven = ([lie]: readonly Lie[]): AttestationResult => ({
  result: 'unproven',
  reason: `gateway ${lie?.gatewayId}: ${lie?.refusal.code}: ${lie?.refusal.detail}`,
  via: 'gateway',
});

/** A signature that the certified key did not make is a copied certificate without its key (T8): the device is quarantined. */
async function recordFailure(
  { ctx }: AttestationParts,
  uid: string,
  via: Via,
  { code, detail }: Refusal,
  bytes: Uint8Array,
): Promise<AttestationResult> {
  const reason = code === 'ATTESTATION_FAILED' ? detail : `${code}: ${detail}`;
  const evidenceSha256 = await ctx.blobs.put(bytes.length > 0 ? bytes : utf8(JSON.stringify({ code, detail })));
  const stream = deviceStream(uid);
  await execute(ctx, device, stream, { type: 'RecordAttestation', passed: false, reason, evidenceSha256, via }, by);
  if (code === 'SPDM_SIGNATURE')
    await execute(ctx, device, stream, { type: 'SuspectClone', reason: 'attestation-signature', evidence: evidenceSha256, by }, by);
  return { result: 'failed', reason, evidenceSha256, via };
}

async function recordSuccess(
  parts: AttestationParts,
  uid: string,
  via: Via,
  measured: Measured,
  bytes: Uint8Array,
): Promise<AttestationResult> {
  const { ctx, saidState } = parts;
  const evidenceSha256 = await ctx.blobs.put(bytes);
  const { measurementSha256, imageHash = '', version, imageState = saidState(uid, imageHash), otpCounter } = measured;
  const stream = deviceStream(uid);
  await execute(ctx, device, stream, { type: 'RecordAttestation', passed: true, measurementSha256, evidenceSha256, via }, by);
  // An image that may still be reverted is no upgrade, and its counter is not burned yet.
  if (imageHash !== '' && imageState === 'confirmed') await recordProven(parts, uid, { ...measured, imageHash }, evidenceSha256);
  if (otpCounter !== undefined) await execute(ctx, device, stream, { type: 'RecordCounter', counter: otpCounter, evidenceSha256, by }, by);
  return {
    result: 'passed',
    evidenceSha256,
    via,
    ...(imageHash !== '' && { imageHash }),
    ...(version !== undefined && { version }),
  };
}

/** The end of an upgrade, by what is proven: the image, and a counter that is not lower than the offered one. Evidence that is refused for its
 *  counter ends the upgrade too, and an operator gets to know. */
async function recordProven(
  { ctx, alarms }: AttestationParts,
  uid: string,
  { imageHash, securityCounter, otpCounter }: Measured & { readonly imageHash: string },
  evidenceSha256: string,
): Promise<void> {
  const stream = deviceStream(uid);
  const offer = provenOffer(await stateOf(ctx, device, stream), imageHash);
  if (offer === undefined) return;
  const { offerId } = offer;
  if (securityCounter !== undefined && securityCounter < offer.securityCounter) {
    const detail = `runs ${offer.version} with the counter ${securityCounter} instead of ${offer.securityCounter}`;
    await execute(ctx, device, stream, { type: 'FailUpgrade', offerId, reason: 'counter-below-offer' }, by);
    return alarms.raise({ code: 'UPGRADE_REFUSED', subject: uid, detail });
  }
  const counter = securityCounter === undefined ? {} : { securityCounter };
  await execute(ctx, device, stream, { type: 'RecordUpgrade', offerId, evidenceSha256, imageHash, ...counter }, by);
  if (otpCounter !== undefined && otpCounter < offer.securityCounter) {
    const detail = `${offer.version} is confirmed, and the counter in OTP is ${otpCounter} instead of ${offer.securityCounter}`;
    await alarms.raise({ code: 'COUNTER_NOT_RAISED', subject: uid, detail });
  }
}

const upgradable = ['STOCK', 'IN_SERVICE', 'UPGRADING'];

/** The standing offer whose image the evidence shows (RULE-18); one that was given up before counts too. */
function provenOffer(state: LivingDevice | { readonly status: 'NONE' }, imageHash: string): Offer | undefined {
  if (state.status === 'NONE' || !upgradable.includes(state.status)) return undefined;
  return [state.offer, state.failedOffer].find(offer => offer?.imageHashes.includes(imageHash));
}
