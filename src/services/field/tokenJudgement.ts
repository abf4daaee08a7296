import { toHex } from '../../bytes.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { stateHash } from '../../eat/psaClaims.ts';
import { type VerifiedToken, verifyToken } from '../../eat/psaToken.ts';
import type { NamedReference } from '../../evidence/attestationProof.ts';
import { type Appraisal, appraiseToken } from '../../evidence/psaAppraisal.ts';
import { measurementIndex } from '../../ota/measurementIndex.ts';
import type { TokenView } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';
import type { ChainJudge } from '../identity/chainJudge.ts';
import type { DevicePolicy } from './attestationPolicy.ts';
import { type Judged, keyOrEnded } from './evidenceJudgement.ts';
import { type Measured, namedReferences } from './referenceValues.ts';
import { type Refusal, refusalOf } from './refusal.ts';

/** Judges a PSA attestation token: by the key of the device, and by the reference values that SPDM is judged by. */

/** @throws NusecError what is a fault of the server */
export async function judgeToken(
  { ctx, chainJudge }: { readonly ctx: Context; readonly chainJudge: ChainJudge },
  state: LivingDevice,
  { token: policy }: DevicePolicy,
  nonce: Uint8Array,
  bytes: Uint8Array,
): Promise<Judged> {
  if (policy === undefined)
    return { refusal: { code: 'ATTESTATION_FAILED', detail: 'a token, and the line asks for SPDM' }, isSigned: false };
  const references = await namedReferences(ctx, state);
  try {
    const { key, ended } = await keyOrEnded(chainJudge, state, policy.key);
    const token = await verifyToken(bytes, { nonce, key });
    const spoken = { token: viewOf(token) };
    const appraisal = appraiseToken(token, references, policy);
    const refusal = ended ?? flawOf(appraisal);
    return refusal === undefined ? { measured: { ...measuredIn(token, appraisal), spoken } } : { refusal, isSigned: true, spoken };
  } catch (error) {
    return { refusal: refusalOf(error), isSigned: false };
  }
}

const flawOf = ({ flaws }: Appraisal<NamedReference>): Refusal | undefined =>
  flaws.length === 0 ? undefined : { code: 'ATTESTATION_FAILED', detail: flaws.join(', ') };

const viewOf = ({ profile, algorithm, lifeCycle, implementationId, instanceId }: VerifiedToken): TokenView => ({
  profile,
  algorithm,
  lifeCycle,
  implementationId: toHex(implementationId),
  instanceId: toHex(instanceId),
});

/** A token has no counters: those of an image are known by its release. */
function measuredIn(token: VerifiedToken, { components }: Appraisal<NamedReference>): Measured {
  const application = components.find(({ index }) => index === measurementIndex.application);
  return {
    ...(application && { imageHash: application.value }),
    ...(application?.version !== undefined && { version: application.version }),
    measurementSha256: toHex(stateHash(token)),
  };
}
