import { equalBytes, fromHex, utf8 } from '../../bytes.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { requireConnectable } from '../../domain/deviceField.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import { verifyVerdict } from '../../production/verdict.ts';
import { decodeEvidence, type Evidence, encodeEvidence, verifyEvidence } from '../../spdm/evidence.ts';
import { runAttestation } from '../../spdm/requester/run.ts';
import { decodeTyped, encodeTyped } from '../../spdm/transport/mqtt.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import type { PerDeviceQueue } from '../base/perDeviceQueue.ts';
import type { ChainJudge } from '../identity/chainJudge.ts';
import type { Attachments } from './attachments.ts';
import type { DeviceChannel } from './deviceChannel.ts';
import { gatewayKey, type VerdictSequences } from './gatewayVerdicts.ts';
import { judgeMeasured, type Measured, readMeasured, referenceValuesOf } from './referenceValues.ts';

/** Attestation (R84, R85): the nonce is always the server's, the evidence is verified here from its raw bytes, whoever brought it. */

type Via = 'mqtt' | 'gateway';

type AttestationResult = {
  readonly result: 'passed' | 'failed';
  readonly reason?: string;
  readonly evidenceSha256: string;
  readonly via: Via;
  readonly imageHash?: string;
  readonly version?: string;
};

export type Attestation = {
  /** Attests now. @throws NusecError NOT_FOUND, DEVICE_STATE (I11), DEVICE_UNREACHABLE, RATE_LIMITED */
  attest(uid: string, wish?: AttestationWish): Promise<AttestationResult>;
};

type AttestationWish = {
  /** Which way; its own connection before a gateway when not given. */
  readonly via?: Via | undefined;
  /** False while the device says it runs its image for the first time: then nothing is recorded as upgraded. */
  readonly confirmed?: boolean;
};

export type AttestationParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly channel: DeviceChannel;
  readonly attachments: Attachments;
  readonly chainJudge: ChainJudge;
  readonly queue: PerDeviceQueue;
  readonly verdicts: VerdictSequences;
};

const nonceBytes = 32;
const verdictNonceBytes = 16;
const by = 'system:attestation';

export function createAttestation(parts: AttestationParts): Attestation {
  const { ctx, alarms, queue, chainJudge } = parts;
  const attest = async (uid: string, { via: wanted, confirmed = true }: AttestationWish): Promise<AttestationResult> => {
    const state = await livingDevice(ctx, uid);
    requireConnectable(state);
    const nonce = ctx.randomBytes(nonceBytes);
    const gathered = await gather(parts, state, nonce, wanted);
    const { via } = gathered;
    const fail = (refusal: Refusal, bytes: Uint8Array, isSigned: boolean) =>
      gathered.via === 'gateway' && !isSigned
        ? blameGateway(parts, gathered.gatewayId, uid, refusal, bytes)
        : recordFailure(parts, uid, via, refusal, bytes);
    if ('refusal' in gathered) return fail(gathered.refusal, utf8(JSON.stringify(gathered.refusal)), false);
    const bytes = encodeEvidence(gathered.evidence);
    const verdict = await judge(parts, state, nonce, gathered.evidence);
    if ('refusal' in verdict) return fail(verdict.refusal, bytes, verdict.isSigned);
    if (gathered.denies !== undefined) await alarms.raise({ code: 'GATEWAY_VERDICT', subject: gathered.denies, detail: deniesText(uid) });
    chainJudge.remember(uid, gathered.evidence.chain);
    return recordSuccess(parts, uid, via, verdict.measured, bytes, confirmed);
  };
  return { attest: (uid, wish = {}) => queue.run(uid, () => attest(uid, wish)) };
}

/** Why evidence is not believed: a stable code, and a text for people. */
type Refusal = { readonly code: ErrorCode; readonly detail: string };
type Gathered = ({ readonly via: 'mqtt' } | { readonly via: 'gateway'; readonly gatewayId: string }) &
  (
    | {
        readonly evidence: Evidence;
        /** The gateway that brought it and says that it is not good. */
        readonly denies?: string;
      }
    | { readonly refusal: Refusal }
  );
const deniesText = (uid: string): string => `says that ${uid} failed; its evidence is good`;

/** What the link is to blame for is not the device's failure. */
const linkErrors: readonly ErrorCode[] = ['DEVICE_UNREACHABLE', 'RATE_LIMITED'];

function refusalOf(error: unknown): Refusal {
  if (!(error instanceof NusecError) || linkErrors.includes(error.code)) throw error;
  return { code: error.code, detail: error.message };
}

function gather(parts: AttestationParts, { uid }: LivingDevice, nonce: Uint8Array, via: Via | undefined): Promise<Gathered> {
  const { channel, attachments } = parts;
  if (via !== 'gateway' && channel.isConnected(uid)) return gatherDirectly(parts, uid, nonce);
  const gatewayId = via === 'mqtt' ? undefined : attachments.gatewaysOf(uid).find(channel.isGatewayConnected);
  if (gatewayId === undefined) throw new NusecError('DEVICE_UNREACHABLE', `${uid} is not connected${via ? ` by ${via}` : ''}`);
  return gatherThroughGateway(parts, gatewayId, uid, nonce);
}

async function gatherDirectly({ channel, chainJudge }: AttestationParts, uid: string, nonce: Uint8Array): Promise<Gathered> {
  const knownChain = chainJudge.knownChain(uid);
  try {
    const evidence = await runAttestation({ nonce, raw: true, ...(knownChain && { knownChain }) }, async wire =>
      decodeTyped(await channel.spdm(uid, encodeTyped(wire))),
    );
    return { via: 'mqtt', evidence };
  } catch (error) {
    return { via: 'mqtt', refusal: refusalOf(error) };
  }
}

/** A gateway can relay but not lie. It knows the authorities but not the releases: it may pass what we fail; if it denies what the evidence
 *  proves, that is an alarm. */
async function gatherThroughGateway(parts: AttestationParts, gatewayId: string, uid: string, nonce: Uint8Array): Promise<Gathered> {
  const { ctx, channel, verdicts } = parts;
  const answer = await channel.attestThroughGateway(gatewayId, uid, nonce);
  try {
    const key = await gatewayKey(ctx, gatewayId);
    const expected = { gateway: gatewayId, uid: fromHex(uid), nonce: nonce.slice(0, verdictNonceBytes) };
    const verdict = await verifyVerdict(answer.verdict, { ...expected, lastSequence: verdicts.last(gatewayId) }, kid =>
      equalBytes(kid, key.kid) ? key.spki : undefined,
    );
    verdicts.take(gatewayId, verdict.sequence);
    const evidence = decodeEvidence(answer.evidence);
    return { via: 'gateway', gatewayId, evidence, ...(verdict.verdict !== 'passed' && { denies: gatewayId }) };
  } catch (error) {
    return { via: 'gateway', gatewayId, refusal: refusalOf(error) };
  }
}

/** `isSigned`: the device itself has signed what is refused, with the key of its certificate and for this nonce. */
type Judged = { readonly measured: Measured } | { readonly refusal: Refusal; readonly isSigned: boolean };

async function judge({ ctx, chainJudge }: AttestationParts, state: LivingDevice, nonce: Uint8Array, evidence: Evidence): Promise<Judged> {
  let isSigned = false;
  try {
    if (evidence.kind !== 'attestation') throw new NusecError('ATTESTATION_FAILED', 'not the evidence of an attestation');
    const { measurements } = await verifyEvidence(evidence, {
      nonce,
      uidHex: state.uid,
      trust: certificates => chainJudge.judge(state, certificates),
    });
    isSigned = true;
    const flaw = judgeMeasured(measurements, await referenceValuesOf(ctx, state));
    if (flaw !== undefined) throw new NusecError('ATTESTATION_FAILED', flaw);
    return { measured: readMeasured(measurements) };
  } catch (error) {
    return { refusal: refusalOf(error), isSigned };
  }
}

/** What a gateway brought is not the device's word: it is held against the gateway. Whether the device or the gateway is false, a person has
 *  to find out; the device is suspected, and stays in use (T8, T20). */
async function blameGateway(
  { ctx, alarms }: AttestationParts,
  gatewayId: string,
  uid: string,
  { code, detail }: Refusal,
  bytes: Uint8Array,
): Promise<AttestationResult> {
  const evidenceSha256 = await ctx.blobs.put(bytes);
  const reason = `${code}: ${detail}`;
  await alarms.raise({ code: 'GATEWAY_EVIDENCE', subject: gatewayId, detail: `brought for ${uid}: ${reason}` });
  if (code === 'SPDM_SIGNATURE') {
    const suspicion = { reason: 'attestation-signature', evidence: evidenceSha256, by, byGateway: true };
    await execute(ctx, device, deviceStream(uid), { type: 'SuspectClone', ...suspicion }, by);
  }
  return { result: 'failed', reason, evidenceSha256, via: 'gateway' };
}

/** A signature that the certified key did not make is a copied certificate without its key (T8): the device is quarantined. */
async function recordFailure(
  { ctx }: AttestationParts,
  uid: string,
  via: Via,
  { code, detail }: Refusal,
  bytes: Uint8Array,
): Promise<AttestationResult> {
  const evidenceSha256 = await ctx.blobs.put(bytes);
  const reason = code === 'ATTESTATION_FAILED' ? detail : `${code}: ${detail}`;
  const stream = deviceStream(uid);
  await execute(ctx, device, stream, { type: 'RecordAttestation', passed: false, reason, evidenceSha256, via }, by);
  if (code === 'SPDM_SIGNATURE')
    await execute(ctx, device, stream, { type: 'SuspectClone', reason: 'attestation-signature', evidence: evidenceSha256, by }, by);
  return { result: 'failed', reason, evidenceSha256, via };
}

async function recordSuccess(
  { ctx }: AttestationParts,
  uid: string,
  via: Via,
  measured: Measured,
  bytes: Uint8Array,
  confirmed: boolean,
): Promise<AttestationResult> {
  const evidenceSha256 = await ctx.blobs.put(bytes);
  const { measurementSha256, imageHash, version, securityCounter } = measured;
  const stream = deviceStream(uid);
  await execute(ctx, device, stream, { type: 'RecordAttestation', passed: true, measurementSha256, evidenceSha256, via }, by);
  const offerId = imageHash === undefined || !confirmed ? undefined : provenOffer(await stateOf(ctx, device, stream), imageHash);
  if (offerId !== undefined && imageHash !== undefined) {
    const counter = securityCounter === undefined ? {} : { securityCounter };
    await execute(ctx, device, stream, { type: 'RecordUpgrade', offerId, evidenceSha256, imageHash, ...counter }, by);
  }
  return {
    result: 'passed',
    evidenceSha256,
    via,
    ...(imageHash !== undefined && { imageHash }),
    ...(version !== undefined && { version }),
  };
}

const upgradable = ['STOCK', 'IN_SERVICE', 'UPGRADING'];

/** The standing offer whose image the evidence shows (RULE-18); one that was given up before counts too. */
function provenOffer(state: Awaited<ReturnType<typeof livingDevice>> | { readonly status: 'NONE' }, imageHash: string): string | undefined {
  if (state.status === 'NONE' || !upgradable.includes(state.status)) return undefined;
  return [state.offer, state.failedOffer].find(offer => offer?.imageHashes.includes(imageHash))?.offerId;
}
