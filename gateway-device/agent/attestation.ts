import { setTimeout as sleep } from 'node:timers/promises';
import { concat, fromHex } from '../../src/bytes.ts';
import type { CodecType } from '../../src/cbor/schema.ts';
import { sha256 } from '../../src/digest.ts';
import { stateHash } from '../../src/eat/psaClaims.ts';
import { verifyToken } from '../../src/eat/psaToken.ts';
import { importKey } from '../../src/ecKey.ts';
import { type ErrorCode, NusecError } from '../../src/errors.ts';
import { type DeviceEvidence, evidenceBytes } from '../../src/evidence/deviceEvidence.ts';
import { type attestMessage, maxRelayedEvidenceBytes } from '../../src/mqttMessages.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import { type GatewayVerdict, signVerdict } from '../../src/production/verdict.ts';
import { spdmVersionName, spdmVersions } from '../../src/spdm/constants.ts';
import { encodeEvidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { encodeMeasurementBlock } from '../../src/spdm/measurement.ts';
import { offerUnder, policyNamed } from '../../src/spdm/policy.ts';
import { patience } from '../../src/spdm/requester/patience.ts';
import { runAttestation } from '../../src/spdm/requester/run.ts';
import { secondsOf } from '../../src/times.ts';
import { openByteLink } from '../link/byteLink.ts';
import { openDevAuth, spdmOver } from '../link/devAuthClient.ts';
import { createMctpClient, type MctpClient } from '../link/mctpLink.ts';
import { onlyKey } from '../link/wiredIdentity.ts';
import type { AgentClock } from './clock.ts';
import type { AgentIdentity } from './identity.ts';
import type { AgentTrust } from './trust.ts';

/** One attestation of a device behind the gateway (R84): SPDM over its UART with the cloud's nonce, judged here by chain and signatures, signed. What
 *  the device must measure only the cloud knows: it judges the evidence again. */

export type AgentAnswer = { readonly evidence: Uint8Array | null; readonly verdict: Uint8Array; readonly error?: string };

export type AttestParts = {
  readonly identity: AgentIdentity;
  readonly trust: AgentTrust;
  readonly clock: Pick<AgentClock, 'nowMs'>;
  /** Rises with every verdict, over restarts too. */
  readonly nextSequence: () => number;
};

export type AttestQuestion = Omit<CodecType<typeof attestMessage>, 'cid' | 'uid'> & { readonly uid: string };
type Asked = Omit<AttestQuestion, 'uid' | 'nonce'>;

/** What the cloud asks the device for, and the default where it says nothing. */
const policyOf = ({ leastVersion, signatures }: Asked) =>
  policyNamed({ ...(leastVersion && { leastVersion: spdmVersionName(leastVersion) }), signatures });

const verdictNonceBytes = 16;
/** No proof, but nothing that speaks against the device: the wire is to blame, the device is busy, or it does not speak what it was asked. */
const withoutProof: readonly ErrorCode[] = [
  'EVIDENCE_UNSUPPORTED',
  'INTERNAL',
  'LINK_FAILED',
  'LINK_TIMEOUT',
  'MCTP_MALFORMED',
  'RATE_LIMITED',
  'SPDM_BUSY',
  'SPDM_UNSUPPORTED',
];

/** @param address `host:port` or the path of a serial device; undefined when this gateway has no wire to the device
 *  @param nonce 32 bytes of the cloud */
export async function attestDevice(
  parts: AttestParts,
  { uid, nonce, ...asked }: AttestQuestion,
  address: string | undefined,
): Promise<AgentAnswer> {
  if (address === undefined) return answer(parts, uid, nonce, 'unreachable', undefined, 'NOT_FOUND');
  const gathered = await gather(parts, address, nonce, asked);
  if (typeof gathered === 'string') {
    return answer(parts, uid, nonce, withoutProof.includes(gathered) ? 'unreachable' : 'failed', undefined, gathered);
  }
  const evidence = evidenceBytes(gathered);
  try {
    const verified = await judge(parts, uid, nonce, asked, gathered);
    return await answer(parts, uid, nonce, 'passed', { evidence, verified });
  } catch (error) {
    return answer(parts, uid, nonce, 'failed', { evidence }, codeOf(error));
  }
}

/** What a verdict names of evidence that holds. */
type Verified = Pick<GatewayVerdict, 'spdmVersion' | 'measurementSha256'>;

async function judge({ trust }: AttestParts, uid: string, nonce: Uint8Array, asked: Asked, gathered: DeviceEvidence): Promise<Verified> {
  const { publicKey } = asked;
  if (gathered.kind === 'psa-token') {
    if (publicKey === undefined) throw new NusecError('EVIDENCE_UNSUPPORTED', 'the cloud has named no key');
    const token = await verifyToken(gathered.token, { nonce, key: importKey(publicKey) });
    return { measurementSha256: stateHash(token) };
  }
  const options = { nonce, uidHex: uid, trust: trust.judge, versions: spdmVersions, ...(publicKey && { trustKey: onlyKey(publicKey) }) };
  const { contentChanged, version, measurements } = await verifyEvidence(gathered, options);
  if (contentChanged) throw new NusecError('ATTESTATION_FAILED', 'the measurements changed while they were read');
  return { spdmVersion: version, measurementSha256: sha256(concat(...measurements.map(encodeMeasurementBlock))) };
}

/** The wire is opened for one attestation: others may use it in between. @returns the evidence, or the code of what went wrong */
async function gather({ trust }: AttestParts, address: string, nonce: Uint8Array, asked: Asked): Promise<DeviceEvidence | ErrorCode> {
  try {
    const client = createMctpClient(await openByteLink(address));
    try {
      if (asked.evidence === 'psa-token') return await gatherToken(client, nonce);
      const { publicKey } = asked;
      const offer = { ...offerUnder(policyOf(asked)), isOurs: trust.isOurs, ...(publicKey && { publicKey }) };
      const evidence = await runAttestation({ ...offer, nonce, raw: true, wait: patience(sleep) }, spdmOver(client));
      return encodeEvidence(evidence).length > maxRelayedEvidenceBytes ? 'SPDM_UNSUPPORTED' : evidence;
    } finally {
      await client.close();
    }
  } catch (error) {
    return codeOf(error);
  }
}

async function gatherToken(client: MctpClient, nonce: Uint8Array): Promise<DeviceEvidence> {
  try {
    const { token } = await openDevAuth(client).request('attest', { nonce });
    return { kind: 'psa-token', token };
  } catch (error) {
    if (!(error instanceof DevAuthError)) throw error;
    throw new NusecError('EVIDENCE_UNSUPPORTED', `the device gives no tokens: ${error.message}`, { cause: error });
  }
}

type Found = { readonly evidence: Uint8Array; readonly verified?: Verified };

async function answer(
  { identity, trust, clock, nextSequence }: AttestParts,
  uid: string,
  nonce: Uint8Array,
  verdict: GatewayVerdict['verdict'],
  found?: Found,
  error?: string,
): Promise<AgentAnswer> {
  const evidence = found?.evidence ?? null;
  const value: GatewayVerdict = {
    gateway: identity.gatewayId,
    uid: fromHex(uid),
    nonce: nonce.slice(0, verdictNonceBytes),
    verdict,
    ...found?.verified,
    ...(evidence && { transcriptSha256: sha256(evidence) }),
    bundleVersion: trust.bundle().version,
    timeSeconds: secondsOf(clock.nowMs()),
    sequence: nextSequence(),
  };
  return { evidence, verdict: await signVerdict(value, identity.signer), ...(error !== undefined && { error }) };
}

const codeOf = (error: unknown): ErrorCode => (error instanceof NusecError ? error.code : 'INTERNAL');
