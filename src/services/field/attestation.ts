import { setTimeout as sleep } from 'node:timers/promises';
import { toHex, utf8 } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceCommand } from '../../domain/deviceCommands.ts';
import type { Offer } from '../../domain/deviceEvents.ts';
import { requireConnectable } from '../../domain/deviceField.ts';
import { type LivingDevice, offersOf } from '../../domain/deviceState.ts';
import { NusecError } from '../../errors.ts';
import { type DeviceEvidence, readEvidence } from '../../evidence/deviceEvidence.ts';
import type { ImageState } from '../../ota/measurementIndex.ts';
import type { Alarms } from '../base/alarms.ts';
import type { Spoken } from '../base/attestationLog.ts';
import { type Context, execute, oneCommit, reader, stateOf } from '../base/context.ts';
import { livingDevice, livingDeviceIn } from '../base/livingDevice.ts';
import type { Answer, PerDeviceQueue } from '../base/perDeviceQueue.ts';
import { raiseFalseProof } from '../base/programmerProof.ts';
import { type AttestationCount, createAttestationCounts } from './attestationCounts.ts';
import { askedSpdm, type DevicePolicy, devicePolicy } from './attestationPolicy.ts';
import { answeredThrough } from './deviceChannel.ts';
import {
  type AskedWay,
  type Gathered,
  type GatheringParts,
  gather,
  isUnsupported,
  unreachable,
  type Via,
  type Way,
  waysTo,
} from './evidenceGathering.ts';
import { type Judged, type Judgement, judgeEvidence } from './evidenceJudgement.ts';
import { blameGateway } from './gatewayFaults.ts';
import type { Measured } from './referenceValues.ts';
import { type Refusal, refusalOf } from './refusal.ts';
import { judgeToken } from './tokenJudgement.ts';

/** Attestation (R84, R85): the nonce is always the server's, the evidence is verified here from its raw bytes, whoever relayed it. */

/** What the device has spoken is there where it has signed. */
type AttestationResult = Spoken & {
  /** `unproven`: what came is no proof for or against the device; the gateway that brought it is to blame.
   *  `unsupported`: the device does not speak what it was asked, and so has not failed. */
  readonly result: 'passed' | 'failed' | 'unproven' | 'unsupported';
  readonly reason?: string;
  readonly evidenceSha256?: string;
  readonly via: Way['via'];
  readonly imageHash?: string;
  readonly version?: string;
};

export type Attestation = {
  /** Attests now. @throws NusecError NOT_FOUND, DEVICE_STATE (I11), DEVICE_UNREACHABLE, RATE_LIMITED */
  attest(uid: string, wish?: AttestationWish): Promise<AttestationResult>;
  /** Judges evidence that somebody has brought. @param nonce 32 bytes that tie it to what was asked of the device @param imageHashes one of which it
   *  has to show
   *  @throws NusecError NOT_FOUND, DEVICE_STATE, ATTESTATION_FAILED: the device has not signed it, so it says nothing about the device, or it shows
   *  another image */
  brought(uid: string, way: Way, nonce: Uint8Array, evidence: Uint8Array, imageHashes: readonly string[]): Promise<AttestationResult>;
  /** How those that this process made have ended. */
  counts(): readonly AttestationCount[];
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
  const counts = createAttestationCounts();
  const attest = async (uid: string, wish: AttestationWish, answer: Answer): Promise<AttestationResult> => {
    const read = reader(ctx);
    const state = await livingDeviceIn(read, uid);
    requireConnectable(state);
    const policy = await devicePolicy(ctx, state, read);
    return counts.counted(state.line, attestNow(state, policy, wish, answer));
  };
  const attestNow = async (state: LivingDevice, policy: DevicePolicy, { via: wish }: AttestationWish, answer: Answer) => {
    const { uid } = state;
    const asking = { ...parts, channel: answeredThrough(parts.channel, answer), pause: (ms: number) => answer(sleep(ms)) };
    const { proof, liars } = await seekProof(asking, state, policy, wish);
    await blame(parts, uid, proof, liars);
    const result: AttestationResult = proof === undefined ? unproven(liars) : await recordShown(parts, uid, proof);
    const shown = proof?.gathered ?? liars[0]?.gathered;
    if (shown !== undefined) await keep(parts, state, shown, result);
    if (proof?.chain !== undefined) chainJudge.remember(uid, proof.chain);
    return shown?.bytes === undefined ? result : { ...result, evidenceSha256: sha256Hex(shown.bytes) };
  };
  const brought: Attestation['brought'] = async (uid, way, nonce, bytes, imageHashes) => {
    const state = await livingDevice(ctx, uid);
    requireConnectable(state);
    const refused = async (refusal: Refusal): Promise<never> => {
      if (way.via === 'gateway') await blameGateway(parts, way.gatewayId, 'evidence', { uid, ...refusal, evidence: bytes });
      if (way.via === 'programmer')
        await raiseFalseProof(parts.alarms, way.programmer, `of ${uid}`, { code: refusal.code, message: refusal.detail });
      throw new NusecError('ATTESTATION_FAILED', `the evidence proves nothing: ${refusal.code}: ${refusal.detail}`);
    };
    const evidence = await readable(bytes, refused);
    const gathered = { way, nonce, bytes, evidence };
    // Who brings it has asked the device by SPDM on its wires, and looks at what it gets before it brings that.
    const policy = await askedSpdm(ctx, state);
    const judged = await judge(parts, state, policy, nonce, evidence);
    if ('refusal' in judged && !judged.isSigned) return refused(judged.refusal);
    if ('measured' in judged && !imageHashes.includes(judged.measured.imageHash ?? ''))
      throw new NusecError('ATTESTATION_FAILED', 'the evidence does not show the offered image');
    const proof: Proof =
      'measured' in judged
        ? { gathered, measured: judged.measured, ...chainIn(gathered.evidence) }
        : { gathered, refusal: judged.refusal, ...(judged.spoken && { spoken: judged.spoken }) };
    const result = await recordShown(parts, uid, proof);
    await keep(parts, state, gathered, result);
    return { ...result, evidenceSha256: sha256Hex(bytes) };
  };
  return {
    attest: (uid, wish = {}) => queue.run(uid, answer => attest(uid, wish, answer)),
    // Who brings evidence may hold the wire of the device, which a question to the gateway waits for: it does not wait behind that question.
    brought,
    counts: counts.all,
  };
}

async function readable(bytes: Uint8Array, refused: (refusal: Refusal) => Promise<never>): Promise<DeviceEvidence> {
  try {
    return readEvidence(bytes);
  } catch (error) {
    return refused(refusalOf(error));
  }
}

/** What one way brought and the device is to answer for. */
type Proof = { readonly gathered: Gathered; readonly denies?: string } /** `chain`: of SPDM. */ & (
  | { readonly measured: Judgement; readonly chain?: Uint8Array }
  | { readonly refusal: Refusal; readonly spoken?: Spoken; readonly chain?: undefined }
);
const chainIn = (evidence: DeviceEvidence) => (evidence.kind === 'psa-token' ? {} : { chain: evidence.chain });
/** What a gateway brought and the device has not signed. */
type Lie = { readonly gatewayId: string; readonly gathered: Gathered; readonly refusal: Refusal };
type Sought = { readonly proof?: Proof; readonly liars: readonly Lie[] };

/** A gateway says, without any evidence, that the device does not speak what it is asked: others are asked too. */
const isHearsay = ({ gathered: { way, bytes } }: Proof): boolean => way.via === 'gateway' && bytes === undefined;

/** Asks one way after the other, each with a nonce of its own, until the device has proved or disproved itself: what a gateway brings and the
 *  device has not signed says nothing about the device.
 *  @throws NusecError DEVICE_UNREACHABLE when no way gives an answer */
async function seekProof(parts: GatheringParts, state: LivingDevice, policy: DevicePolicy, wish: Via | undefined): Promise<Sought> {
  const liars: Lie[] = [];
  let silence: NusecError | undefined;
  let hearsay: Proof | undefined;
  for (const way of waysTo(parts, state.uid, wish)) {
    if (wish === 'gateway' && way.via === 'mqtt' && liars.length === 0) break;
    const asked = await askOneWay(parts, state, policy, way).catch(error => {
      if (!(error instanceof NusecError) || error.code !== 'DEVICE_UNREACHABLE') throw error;
      silence = error;
    });
    if (asked === undefined) continue;
    if ('gatewayId' in asked) liars.push(asked);
    else if (isHearsay(asked)) hearsay = asked;
    else return { proof: asked, liars };
  }
  if (hearsay !== undefined) return { proof: hearsay, liars };
  if (liars.length === 0) throw silence ?? unreachable(state.uid, wish);
  return { liars };
}

const judge = (
  parts: Pick<GatheringParts, 'ctx' | 'chainJudge'>,
  state: LivingDevice,
  policy: DevicePolicy,
  nonce: Uint8Array,
  evidence: DeviceEvidence,
) =>
  evidence.kind === 'psa-token'
    ? judgeToken(parts, state, policy, nonce, evidence.token)
    : judgeEvidence(parts, state, policy, nonce, evidence);

async function askOneWay(parts: GatheringParts, state: LivingDevice, policy: DevicePolicy, way: AskedWay): Promise<Proof | Lie> {
  const gathered = await gather(parts, state, policy, way, parts.ctx.randomBytes(nonceBytes));
  const judged: Judged =
    'refusal' in gathered
      ? { refusal: gathered.refusal, isSigned: false }
      : await judge(parts, state, policy, gathered.nonce, gathered.evidence);
  if ('measured' in judged && 'evidence' in gathered) {
    const contradiction = contradictionOf(gathered, judged.measured);
    const proof = { gathered, measured: judged.measured, ...chainIn(gathered.evidence) };
    return contradiction === undefined ? proof : { ...proof, denies: contradiction };
  }
  const { refusal, isSigned, spoken } = judged as Extract<Judged, { readonly refusal: Refusal }>;
  const refused = { gathered, refusal, ...(spoken && { spoken }) };
  const isLie = way.via === 'gateway' && !isSigned && !(isHearsay(refused) && isUnsupported(refusal.code));
  return isLie ? { gatewayId: way.gatewayId, gathered, refusal } : refused;
}

/** A gateway that itself says that its evidence fails may be right: the device on its own connection, or a second gateway, can confirm it.
 *  One that says `passed` of what does not hold contradicts itself. */
const admits = ({ gathered }: Lie): boolean => gathered.verdict?.value?.verdict === 'failed';

async function blame(parts: AttestationParts, uid: string, proof: Proof | undefined, liars: readonly Lie[]): Promise<void> {
  const confirmed = proof === undefined ? await suspectTogether(parts, uid, liars) : confirmedBy(proof, liars);
  for (const lie of liars) if (!confirmed.includes(lie)) await blameFor(parts, uid, lie);
  if (proof?.denies === undefined || proof.gathered.way.via !== 'gateway') return;
  const fault = { uid, code: 'GATEWAY_VERDICT', detail: proof.denies };
  await blameGateway(parts, proof.gathered.way.gatewayId, 'verdict', { ...fault, ...broughtBy(proof.gathered) });
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

/** The key of the device has not made it. */
const isFalseSignature = ({ code }: Pick<Refusal, 'code'>): boolean => code === 'SPDM_SIGNATURE' || code === 'COSE_SIGNATURE';

/** Two gateways that bring a false signature and say so: a clone, or two that lie together. The device is suspected and stays in use (T8, T20). */
async function suspectTogether({ ctx }: AttestationParts, uid: string, liars: readonly Lie[]): Promise<readonly Lie[]> {
  const witnesses = liars.filter(lie => admits(lie) && isFalseSignature(lie.refusal));
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

const viaOf = (way: Way): string =>
  way.via === 'mqtt' ? way.via : way.via === 'gateway' ? `gateway:${way.gatewayId}` : `programmer:${way.programmer}`;

/** One row for every attestation, also when nothing changes. */
async function keep(
  { ctx, attestations }: AttestationParts,
  { uid, line }: LivingDevice,
  shown: Gathered,
  { result, reason, negotiated, token }: AttestationResult,
): Promise<void> {
  const { way, nonce, bytes, verdict } = shown;
  const via = viaOf(way);
  const proof = { evidence: bytes, verdict: verdict?.signed };
  const about = { uid, line, via, atMs: ctx.clock().getTime(), nonceHex: toHex(nonce) };
  const details = { ...(reason !== undefined && { reason }), ...(negotiated && { negotiated }), ...(token && { token }) };
  await attestations.add({ ...about, result, ...details, ...proof });
}

async function recordShown(parts: AttestationParts, uid: string, proof: Proof): Promise<AttestationResult> {
  const spoken = 'measured' in proof ? proof.measured.spoken : proof.spoken;
  return { ...(await record(parts, uid, proof)), ...spoken };
}

/** Records a change, and with it, in one commit, what it was judged by. */
const record = (parts: AttestationParts, uid: string, proof: Proof): Promise<AttestationResult> =>
  oneCommit(parts.ctx, async ctx => {
    if ('measured' in proof) return recordSuccess({ ...parts, ctx }, uid, proof);
    const { refusal, gathered } = proof;
    if (!isUnsupported(refusal.code)) return recordFailure(ctx, uid, gathered, refusal);
    return { result: 'unsupported', reason: refusal.detail, via: gathered.way.via };
  });

/** What an event names is kept as long as the event. */
async function keepNamed({ blobs }: Context, events: readonly unknown[], named: readonly (Uint8Array | undefined)[]): Promise<void> {
  if (events.length > 0) await Promise.all(named.flatMap(bytes => (bytes === undefined ? [] : [blobs.put(bytes)])));
}

const factsOf = (evidence: Uint8Array, { way, verdict }: Gathered) => ({
  evidenceSha256: sha256Hex(evidence),
  via: way.via,
  ...(verdict && { verdictSha256: sha256Hex(verdict.signed) }),
});

/** A signature that the certified key did not make is a copied certificate without its key (T8): the device is quarantined. */
async function recordFailure(ctx: Context, uid: string, gathered: Gathered, { code, detail }: Refusal): Promise<AttestationResult> {
  const reason = code === 'ATTESTATION_FAILED' ? detail : `${code}: ${detail}`;
  const bytes = gathered.bytes ?? utf8(JSON.stringify({ code, detail }));
  const facts = factsOf(bytes, gathered);
  const stream = deviceStream(uid);
  const failed = await execute(ctx, device, stream, { type: 'RecordAttestation', passed: false, reason, ...facts }, by);
  await keepNamed(ctx, failed.events, [bytes, gathered.verdict?.signed]);
  if (isFalseSignature({ code })) {
    const suspicion = { reason: 'attestation-signature', evidence: facts.evidenceSha256, by } as const;
    const suspected = await execute(ctx, device, stream, { type: 'SuspectClone', ...suspicion }, by);
    await keepNamed(ctx, suspected.events, [bytes]);
  }
  return { result: 'failed', reason, via: facts.via };
}

async function recordSuccess(
  parts: AttestationParts,
  uid: string,
  { gathered, measured }: Proof & { readonly measured: Measured },
): Promise<AttestationResult> {
  const { ctx, saidState } = parts;
  const facts = factsOf(gathered.bytes ?? new Uint8Array(), gathered);
  const { evidenceSha256, via } = facts;
  const { measurementSha256, imageHash = '', version, imageState = saidState(uid, imageHash), otpCounter } = measured;
  const stream = deviceStream(uid);
  let isKept = false;
  const run = async (command: DeviceCommand): Promise<void> => {
    const { events } = await execute(ctx, device, stream, command, by);
    if (isKept || events.length === 0) return;
    isKept = true;
    await keepNamed(ctx, events, [gathered.bytes, gathered.verdict?.signed]);
  };
  await run({ type: 'RecordAttestation', passed: true, measurementSha256, ...facts });
  // An image that may still be reverted is no upgrade, and its counter is not burned yet.
  if (imageHash !== '' && imageState === 'confirmed') await recordProven(parts, uid, { ...measured, imageHash }, evidenceSha256, run);
  if (otpCounter !== undefined) await run({ type: 'RecordCounter', counter: otpCounter, evidenceSha256, by });
  return { result: 'passed', via, ...(imageHash !== '' && { imageHash }), ...(version !== undefined && { version }) };
}

/** The end of an upgrade, by what is proven: the image, and a counter that is not lower than the offered one. Evidence that is refused for its
 *  counter ends the upgrade too, and an operator gets to know. */
async function recordProven(
  { ctx, alarms }: AttestationParts,
  uid: string,
  { imageHash, securityCounter, otpCounter }: Measured & { readonly imageHash: string },
  evidenceSha256: string,
  run: (command: DeviceCommand) => Promise<void>,
): Promise<void> {
  const offer = provenOffer(await stateOf(ctx, device, deviceStream(uid)), imageHash);
  if (offer === undefined) return;
  const { offerId } = offer;
  if (securityCounter !== undefined && securityCounter < offer.securityCounter) {
    const detail = `runs ${offer.version} with the counter ${securityCounter} instead of ${offer.securityCounter}`;
    await run({ type: 'FailUpgrade', offerId, reason: 'counter-below-offer' });
    return alarms.raise({ code: 'UPGRADE_REFUSED', subject: uid, detail });
  }
  const counter = securityCounter === undefined ? {} : { securityCounter };
  await run({ type: 'RecordUpgrade', offerId, evidenceSha256, imageHash, ...counter });
  if (otpCounter !== undefined && otpCounter < offer.securityCounter) {
    const detail = `${offer.version} is confirmed, and the counter in OTP is ${otpCounter} instead of ${offer.securityCounter}`;
    await alarms.raise({ code: 'COUNTER_NOT_RAISED', subject: uid, detail });
  }
}

const upgradable = ['STOCK', 'IN_SERVICE', 'UPGRADING'];

/** The offer whose image the evidence shows (RULE-18): the standing one, or one that was given up. */
function provenOffer(state: LivingDevice | { readonly status: 'NONE' }, imageHash: string): Offer | undefined {
  if (state.status === 'NONE' || !upgradable.includes(state.status)) return undefined;
  return offersOf(state).find(({ imageHashes }) => imageHashes.includes(imageHash));
}
