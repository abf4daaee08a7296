import { setTimeout as sleep } from 'node:timers/promises';
import { concat, fromHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { type ErrorCode, NusecError } from '../../src/errors.ts';
import { type GatewayVerdict, signVerdict } from '../../src/production/verdict.ts';
import { type Evidence, encodeEvidence, type VerifiedEvidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { encodeMeasurementBlock } from '../../src/spdm/measurement.ts';
import { patience } from '../../src/spdm/requester/patience.ts';
import { runAttestation } from '../../src/spdm/requester/run.ts';
import { secondsOf } from '../../src/times.ts';
import { openByteLink } from '../link/byteLink.ts';
import { spdmOver } from '../link/devAuthClient.ts';
import { createMctpClient } from '../link/mctpLink.ts';
import type { AgentIdentity } from './identity.ts';
import type { AgentTrust } from './trust.ts';

/** One attestation of a device behind the gateway (R84): SPDM over its UART with the cloud's nonce, judged here by chain and signatures, signed. What
 *  the device must measure only the cloud knows: it judges the evidence again. */

export type AgentAnswer = { readonly evidence: Uint8Array | null; readonly verdict: Uint8Array; readonly error?: string };

export type AttestParts = {
  readonly identity: AgentIdentity;
  readonly trust: AgentTrust;
  /** Rises with every verdict, over restarts too. */
  readonly nextSequence: () => number;
};

const verdictNonceBytes = 16;
/** No proof, but nothing that speaks against the device: the wire is to blame, the device is busy, or it does not speak what it was asked. */
const withoutProof: readonly ErrorCode[] = [
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
export async function attestDevice(parts: AttestParts, uid: string, nonce: Uint8Array, address: string | undefined): Promise<AgentAnswer> {
  if (address === undefined) return answer(parts, uid, nonce, 'unreachable', undefined, 'NOT_FOUND');
  const gathered = await gather(address, nonce);
  if (typeof gathered === 'string') {
    return answer(parts, uid, nonce, withoutProof.includes(gathered) ? 'unreachable' : 'failed', undefined, gathered);
  }
  try {
    const verified = await verifyEvidence(gathered, { nonce, uidHex: uid, trust: parts.trust.judge });
    if (verified.contentChanged) throw new NusecError('ATTESTATION_FAILED', 'the measurements changed while they were read');
    return answer(parts, uid, nonce, 'passed', { evidence: gathered, verified });
  } catch (error) {
    return answer(parts, uid, nonce, 'failed', { evidence: gathered }, codeOf(error));
  }
}

/** The wire is opened for one attestation: others may use it in between. @returns the evidence, or the code of what went wrong */
async function gather(address: string, nonce: Uint8Array): Promise<Evidence | ErrorCode> {
  try {
    const client = createMctpClient(await openByteLink(address));
    try {
      return await runAttestation({ nonce, raw: true, wait: patience(sleep) }, spdmOver(client));
    } finally {
      await client.close();
    }
  } catch (error) {
    return codeOf(error);
  }
}

type Found = { readonly evidence: Evidence; readonly verified?: VerifiedEvidence };

async function answer(
  { identity, trust, nextSequence }: AttestParts,
  uid: string,
  nonce: Uint8Array,
  verdict: GatewayVerdict['verdict'],
  found?: Found,
  error?: string,
): Promise<AgentAnswer> {
  const evidence = found === undefined ? null : encodeEvidence(found.evidence);
  const measured = found?.verified && concat(...found.verified.measurements.map(encodeMeasurementBlock));
  const value: GatewayVerdict = {
    gateway: identity.gatewayId,
    uid: fromHex(uid),
    nonce: nonce.slice(0, verdictNonceBytes),
    verdict,
    ...(found?.verified && { spdmVersion: found.verified.version }),
    ...(evidence && { transcriptSha256: sha256(evidence) }),
    ...(measured && { measurementSha256: sha256(measured) }),
    bundleVersion: trust.bundle().version,
    timeSeconds: secondsOf(Date.now()),
    sequence: nextSequence(),
  };
  return { evidence, verdict: await signVerdict(value, identity.signer), ...(error !== undefined && { error }) };
}

const codeOf = (error: unknown): ErrorCode => (error instanceof NusecError ? error.code : 'INTERNAL');
