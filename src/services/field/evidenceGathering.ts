import { equalBytes, fromHex } from '../../bytes.ts';
import { sha256, sha256Hex } from '../../digest.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import { type DeviceEvidence, readEvidence } from '../../evidence/deviceEvidence.ts';
import { type GatewayVerdict, verifyVerdict } from '../../production/verdict.ts';
import { encodeEvidence } from '../../spdm/evidence.ts';
import { defaultSpdmPolicy, offerUnder } from '../../spdm/policy.ts';
import { patience } from '../../spdm/requester/patience.ts';
import { runAttestation } from '../../spdm/requester/run.ts';
import { decodeTyped, encodeTyped } from '../../spdm/transport/mqtt.ts';
import { secondsOf } from '../../times.ts';
import { authorityOf } from '../authority/authority.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';
import type { ChainJudge } from '../identity/chainJudge.ts';
import type { Attachments } from './attachments.ts';
import type { DevicePolicy } from './attestationPolicy.ts';
import type { AskedPolicy, DeviceChannel } from './deviceChannel.ts';
import { type GatewayKey, gatewayKey } from './gatewayVerdicts.ts';
import { type Refusal, refusalOf } from './refusal.ts';

/** Gathers evidence of a device, with a nonce of the server: on the device's own connection, or through a gateway, which can relay but not lie. */

export type AskedWay = { readonly via: 'mqtt' } | { readonly via: 'gateway'; readonly gatewayId: string };
/** A programmer is not asked: it brings what it has on its wires. */
export type Way = AskedWay | { readonly via: 'programmer'; readonly programmer: string };
/** Ways that the server can ask. */
export type Via = AskedWay['via'];

export type GatheringParts = {
  readonly ctx: Context;
  readonly channel: DeviceChannel;
  readonly attachments: Attachments;
  readonly chainJudge: ChainJudge;
  readonly attestations: AttestationLog;
  /** Waits for a device that is not ready. */
  readonly pause: (delayMs: number) => Promise<unknown>;
};

export type Gathered = {
  readonly way: Way;
  /** 32 bytes, the server's. */
  readonly nonce: Uint8Array;
  /** As encodeEvidence writes it; what came instead when it is refused. */
  readonly bytes?: Uint8Array;
  /** What the gateway says of the evidence, signed by it. */
  readonly verdict?: { readonly signed: Uint8Array; readonly value?: GatewayVerdict };
} & ({ readonly evidence: DeviceEvidence } | { readonly refusal: Refusal });

export type WayParts = {
  readonly channel: Pick<DeviceChannel, 'isConnected' | 'isGatewayConnected'>;
  readonly attachments: Pick<Attachments, 'gatewaysOf'>;
};

/** Gateways that are asked for one attestation. */
const maxGateways = 3;
const verdictNonceBytes = 16;
/** A key that has come while the gateway was asked has signed nothing before. */
const noSequence = -1;

/** The machine that was asked has been replaced meanwhile: what came may be of either, and says nothing about the one that is there now. */
const replaced = (gatewayId: string): NusecError =>
  new NusecError('DEVICE_UNREACHABLE', `gateway ${gatewayId} got another key while it was asked`);

/** The ways to ask a device, the first one first.
 *  @param wish `mqtt`: no gateway is asked. `gateway`: the own connection comes last */
export function waysTo({ channel, attachments }: WayParts, uid: string, wish?: Via): readonly AskedWay[] {
  const own: readonly AskedWay[] = channel.isConnected(uid) ? [{ via: 'mqtt' }] : [];
  if (wish === 'mqtt') return own;
  const connected = attachments.gatewaysOf(uid).filter(channel.isGatewayConnected).slice(0, maxGateways);
  const gateways = connected.map(gatewayId => ({ via: 'gateway', gatewayId }) as const);
  return wish === 'gateway' ? [...gateways, ...own] : [...own, ...gateways];
}

/** @throws NusecError DEVICE_UNREACHABLE, RATE_LIMITED, and what is a fault of the server */
export const gather = (
  parts: GatheringParts,
  state: LivingDevice,
  policy: DevicePolicy,
  way: AskedWay,
  nonce: Uint8Array,
): Promise<Gathered> =>
  way.via === 'mqtt' ? gatherDirectly(parts, state, policy, nonce) : gatherThroughGateway(parts, way, state.uid, policy, nonce);

async function gatherDirectly(
  { channel, chainJudge, pause }: GatheringParts,
  state: LivingDevice,
  { spdm, publicKey, token }: DevicePolicy,
  nonce: Uint8Array,
): Promise<Gathered> {
  const { uid } = state;
  const way = { via: 'mqtt' } as const;
  if (token !== undefined) return gatherToken(channel, uid, nonce);
  const knownChain = chainJudge.knownChain(uid);
  try {
    const isOurs = isOneOf(state);
    const known = { ...(knownChain && { knownChain }), ...(publicKey && { publicKey }) };
    const options = { ...offerUnder(spdm), nonce, raw: true, wait: patience(pause), isOurs, ...known };
    const evidence = await runAttestation(options, async wire => decodeTyped(await channel.spdm(uid, encodeTyped(wire))));
    return { way, nonce, evidence, bytes: encodeEvidence(evidence) };
  } catch (error) {
    return { way, nonce, refusal: refusalOf(notAnswered(uid, error)) };
  }
}

async function gatherToken(channel: DeviceChannel, uid: string, nonce: Uint8Array): Promise<Gathered> {
  const way = { via: 'mqtt' } as const;
  try {
    const bytes = await channel.eat(uid, nonce);
    return { way, nonce, bytes, evidence: { kind: 'psa-token', token: bytes } };
  } catch (error) {
    return { way, nonce, refusal: refusalOf(error) };
  }
}

/** Whether a chain ends in a certificate of this device: others may be in its other slots. */
export const isOneOf =
  ({ certificates }: LivingDevice) =>
  (chain: readonly Uint8Array[]): boolean => {
    const leaf = sha256Hex(chain.at(-1) ?? new Uint8Array());
    return certificates.some(({ certificateSha256 }) => certificateSha256 === leaf);
  };

/** A device that is busy has proved nothing and failed at nothing. */
const notAnswered = (uid: string, error: unknown): unknown =>
  error instanceof NusecError && error.code === 'SPDM_BUSY'
    ? new NusecError('DEVICE_UNREACHABLE', `${uid} gave no proof now: ${error.message}`, { cause: error })
    : error;

/** A gateway knows the authorities but not the releases: it may pass what we fail. */
async function gatherThroughGateway(
  { ctx, channel, attestations }: GatheringParts,
  way: AskedWay & { readonly via: 'gateway' },
  uid: string,
  policy: DevicePolicy,
  nonce: Uint8Array,
): Promise<Gathered> {
  const { gatewayId } = way;
  const asked = await liveKey(ctx, gatewayId);
  // Answers to questions of several processes come in any order; each was signed after its question.
  const sequenceBefore = attestations.lastSequence(asked.kid);
  const answered = await channel.attestThroughGateway(gatewayId, uid, nonce, wireOf(policy)).catch(withoutEvidence);
  // Suspended while it was asked: it answers for nothing any more, and has not lied.
  const { kid, spki } = await liveKey(ctx, gatewayId);
  const isSame = equalBytes(kid, asked.kid);
  if ('refusal' in answered) {
    if (!isSame) throw replaced(gatewayId);
    return { way, nonce, refusal: answered.refusal };
  }
  const { evidence: bytes, verdict: signed } = answered;
  try {
    const expected = {
      gateway: gatewayId,
      uid: fromHex(uid),
      nonce: nonce.slice(0, verdictNonceBytes),
      transcriptSha256: sha256(bytes),
      lastSequence: isSame ? sequenceBefore : noSequence,
      bundleVersions: { least: Math.max(1, asked.trustBundleVersion), newest: (await authorityOf(ctx)).trustBundle.version },
      nowSeconds: secondsOf(ctx.clock().getTime()),
    };
    const verdict = await verifyVerdict(signed, expected, named => (equalBytes(named, kid) ? spki : undefined));
    attestations.noteSequence(kid, verdict.sequence);
    return { way, nonce, bytes, evidence: readEvidence(bytes), verdict: { signed, value: verdict } };
  } catch (error) {
    const refusal = refusalOf(error);
    if (!isSame) throw replaced(gatewayId);
    return { way, nonce, bytes, refusal, verdict: { signed } };
  }
}

/** The device does not speak what it was asked, and so has not failed. */
export const isUnsupported = (code: ErrorCode): boolean => code === 'SPDM_UNSUPPORTED' || code === 'EVIDENCE_UNSUPPORTED';

/** A gateway says that the device does not speak what it was asked, or what it says cannot be read. */
function withoutEvidence(error: unknown): { readonly refusal: Refusal } {
  if (error instanceof NusecError && (isUnsupported(error.code) || error.code === 'EVIDENCE_MALFORMED'))
    return { refusal: refusalOf(error) };
  throw error;
}

/** Nothing for the policy that every gateway has: older ones know no other. */
const wireOf = ({ spdm, publicKey, token }: DevicePolicy): AskedPolicy => {
  if (token !== undefined) return { evidence: 'psa-token', publicKey: token.key };
  const { leastVersion, signatures } = spdm;
  const isDefault = leastVersion === defaultSpdmPolicy.leastVersion && signatures.join() === defaultSpdmPolicy.signatures.join();
  return { ...(!isDefault && { leastVersion, signatures: [...signatures] }), ...(publicKey && { publicKey }) };
};

/** @throws NusecError DEVICE_UNREACHABLE when the gateway has just been suspended or revoked */
const liveKey = (ctx: Context, gatewayId: string): Promise<GatewayKey> =>
  gatewayKey(ctx, gatewayId).catch(error => {
    if (!(error instanceof NusecError) || error.code !== 'CERTIFICATE_REVOKED') throw error;
    throw new NusecError('DEVICE_UNREACHABLE', error.message, { cause: error });
  });

export const unreachable = (uid: string, wish: Via | undefined): NusecError =>
  new NusecError(
    'DEVICE_UNREACHABLE',
    wish === 'gateway'
      ? `no connected gateway has ${uid} attached: start its gateway, or attach the device (nusec gateway attach)`
      : `${uid} is not connected${wish ? ` by ${wish}` : ''}`,
  );
