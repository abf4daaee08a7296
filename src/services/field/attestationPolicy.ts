import { fromBase64url } from '../../bytes.ts';
import type { AttestationPolicy } from '../../domain/attestationPolicy.ts';
import { currentCertificate, type LivingDevice } from '../../domain/deviceState.ts';
import { line, lineStream, policyOf } from '../../domain/line.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { spdmVersionName, spdmVersions } from '../../spdm/constants.ts';
import { demandedCapabilities, type SpdmPolicy } from '../../spdm/policy.ts';
import { type Context, stateOf } from '../base/context.ts';

/** What the line of a device asks of it, in the numbers of SPDM. */
export type DevicePolicy = {
  readonly spdm: SpdmPolicy;
  /** SubjectPublicKeyInfo that a device without certificates is known by; undefined where the line allows none. */
  readonly publicKey?: Uint8Array;
};

export async function devicePolicy(ctx: Context, state: LivingDevice): Promise<DevicePolicy> {
  const known = await stateOf(ctx, line, lineStream(state.line));
  const policy = policyOf(known.status === 'NONE' ? {} : known);
  const publicKey = policy.publicKey ? await knownKey(ctx, state) : undefined;
  return { spdm: spdmOf(policy), ...(publicKey && { publicKey }) };
}

/** One record for one policy: what follows from it is kept by it. */
const translated = new WeakMap<AttestationPolicy, SpdmPolicy>();

function spdmOf(policy: AttestationPolicy): SpdmPolicy {
  const before = translated.get(policy);
  if (before !== undefined) return before;
  const { leastVersion, signatures, requires } = policy;
  const spdm = {
    leastVersion: spdmVersions.find(version => spdmVersionName(version) === leastVersion) ?? 0x14,
    signatures,
    requires: requires.reduce((flags, name) => flags | demandedCapabilities[name], 0),
  };
  translated.set(policy, spdm);
  return spdm;
}

/** The enrolled one, or that of its certificate. */
async function knownKey(ctx: Context, state: LivingDevice): Promise<Uint8Array | undefined> {
  if (state.attestationKey !== undefined) return fromBase64url(state.attestationKey.publicKey);
  const certificate = currentCertificate(state);
  return certificate && parseCertificate(await ctx.blobs.get(certificate.certificateSha256)).spki;
}
