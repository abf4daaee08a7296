import { sha256Hex } from '../../digest.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { importKey } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { spdmVersions } from '../../spdm/constants.ts';
import { type Evidence, type VerifiedEvidence, type VerifyOptions, verifyEvidence } from '../../spdm/evidence.ts';
import { asksForEverything } from '../../spdm/evidenceRequest.ts';
import { negotiatedView, requirePolicy } from '../../spdm/policy.ts';
import type { Spoken } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';
import type { ChainJudge } from '../identity/chainJudge.ts';
import type { DevicePolicy } from './attestationPolicy.ts';
import { judgeMeasured, type Measured, readMeasured, referenceValuesOf } from './referenceValues.ts';
import { type Refusal, refusalOf } from './refusal.ts';

/** Judges evidence of SPDM from its raw bytes, whoever relayed it (R85), and names the party at fault when it is wrong. */

export type Judged =
  | { readonly measured: Judgement }
  /** `isSigned`: the device itself has signed what is refused, with the key of its certificate and for this nonce. */
  | { readonly refusal: Refusal; readonly isSigned: boolean; readonly spoken?: Spoken };

/** What was measured, and what the device has spoken. */
export type Judgement = Measured & { readonly spoken: Spoken };

/** @throws NusecError what is a fault of the server */
export async function judgeEvidence(
  { ctx, chainJudge }: { readonly ctx: Context; readonly chainJudge: ChainJudge },
  state: LivingDevice,
  policy: DevicePolicy,
  nonce: Uint8Array,
  evidence: Evidence,
): Promise<Judged> {
  const references = await referenceValuesOf(ctx, state);
  const trust = trustOrEnded(chainJudge, state);
  try {
    if (policy.token !== undefined) throw new NusecError('ATTESTATION_FAILED', 'messages of SPDM, and the line asks for tokens');
    if (evidence.kind !== 'attestation') throw new NusecError('ATTESTATION_FAILED', 'not the evidence of an attestation');
    if (!asksForEverything(evidence)) throw new NusecError('ATTESTATION_FAILED', 'the device was not asked for all measurements');
    const keys = policy.publicKey && { trustKey: trust.judgeKey };
    const verified = await verifyEvidence(evidence, { nonce, uidHex: state.uid, trust: trust.judge, versions: spdmVersions, ...keys });
    const lack = lackOf(policy, verified);
    const spoken = { negotiated: negotiatedView(verified.negotiated, verified.slot) };
    if (lack !== undefined) return { refusal: lack, isSigned: true, spoken };
    const changed = verified.contentChanged ? 'the device says that its measurements changed while they were read' : undefined;
    const flaw = trust.ended() ?? flawOf(changed ?? judgeMeasured(verified.measurements, references));
    return flaw === undefined ? { measured: { ...readMeasured(verified), spoken } } : { refusal: flaw, isSigned: true, spoken };
  } catch (error) {
    return { refusal: refusalOf(error), isSigned: false };
  }
}

/** What the device, asked for all that its line allows, does not speak. @throws NusecError SPDM_UNEXPECTED when it was asked for less */
function lackOf({ spdm }: DevicePolicy, { negotiated }: VerifiedEvidence): Refusal | undefined {
  try {
    return void requirePolicy(spdm, negotiated);
  } catch (error) {
    if (error instanceof NusecError && error.code === 'SPDM_UNSUPPORTED') return refusalOf(error);
    throw error;
  }
}

const flawOf = (detail: string | undefined): Refusal | undefined =>
  detail === undefined ? undefined : { code: 'ATTESTATION_FAILED', detail };

/** The key by which a device is known; `ended`: that of a certificate that does not count any more, which is the fault of the device when it has
 *  signed. @throws NusecError CHAIN_REFUSED (another key) */
export async function keyOrEnded(chainJudge: ChainJudge, state: LivingDevice, spki: Uint8Array) {
  try {
    return { key: await chainJudge.judgeKey(state, spki) };
  } catch (error) {
    const hash = sha256Hex(spki);
    if (!state.certificates.some(({ publicKeySha256 }) => publicKeySha256 === hash)) throw error;
    return { key: importKey(spki), ended: refusalOf(error) };
  }
}

/** A relay of evidence cannot make a certificate expire, nor its issuer compromised: when the device has signed with a certificate that was issued to
 *  it, the signature is verified all the same, so that the device is to blame and not the messenger. */
function trustOrEnded(chainJudge: ChainJudge, state: LivingDevice) {
  let refusal: Refusal | undefined;
  const judge: VerifyOptions['trust'] = certificates => {
    try {
      return chainJudge.judge(state, certificates);
    } catch (error) {
      const leaf = certificates.at(-1) ?? new Uint8Array();
      const isOwn = state.certificates.some(({ certificateSha256 }) => certificateSha256 === sha256Hex(leaf));
      if (!isOwn) throw error;
      refusal = refusalOf(error);
      return importKey(parseCertificate(leaf).spki);
    }
  };
  const judgeKey = async (spki: Uint8Array) => {
    const known = await keyOrEnded(chainJudge, state, spki);
    refusal = known.ended;
    return known.key;
  };
  return { judge, judgeKey, ended: () => refusal };
}
