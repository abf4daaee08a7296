import { fromBase64url, toHex } from '../../bytes.ts';
import type { AttestationPolicy } from '../../domain/attestationPolicy.ts';
import { currentCertificate, type LivingDevice } from '../../domain/deviceState.ts';
import { line, lineStream, policyOf } from '../../domain/line.ts';
import { instanceIdOfKey } from '../../eat/psaClaims.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import type { TokenPolicy } from '../../evidence/psaAppraisal.ts';
import { spdmVersionName, spdmVersions } from '../../spdm/constants.ts';
import { demandedCapabilities, type SpdmPolicy } from '../../spdm/policy.ts';
import { type Context, reader } from '../base/context.ts';
import { storedCertificate } from '../identity/storedCertificate.ts';

/** What the line of a device asks of it, in the numbers of SPDM. */
export type DevicePolicy = {
  readonly spdm: SpdmPolicy;
  /** SubjectPublicKeyInfo that a device without certificates is known by; undefined where the line allows none. */
  readonly publicKey?: Uint8Array;
  /** Of a line whose devices give PSA attestation tokens: how they are judged, and the key that signs them (SubjectPublicKeyInfo). */
  readonly token?: TokenPolicy & { readonly key: Uint8Array };
};

/** @param read where more is read at once */
export async function devicePolicy(ctx: Context, state: LivingDevice, read: Read = reader(ctx)): Promise<DevicePolicy> {
  const known = await read(line, lineStream(state.line));
  const policy = policyOf(known.status === 'NONE' ? {} : known);
  const publicKey = policy.publicKey || policy.evidence === 'psa-token' ? await knownKey(ctx, state) : undefined;
  const token = policy.evidence === 'psa-token' ? { token: tokenPolicy(policy, state, publicKey) } : {};
  return { spdm: spdmOf(policy), ...(publicKey && { publicKey }), ...token };
}

/** @throws NusecError EVIDENCE_UNSUPPORTED: no key of the device is known */
function tokenPolicy({ caller, implementationId }: AttestationPolicy, { uid, attestationKey }: LivingDevice, key: Uint8Array | undefined) {
  if (key === undefined)
    throw new NusecError('EVIDENCE_UNSUPPORTED', `no key of ${uid} is known: enrol one (nusec device attestation-key)`);
  const instanceId = attestationKey?.instanceId ?? toHex(instanceIdOfKey(key));
  return { caller, instanceId, key, ...(implementationId !== undefined && { implementationId }) };
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
  return certificate && (await storedCertificate(ctx, certificate.certificateSha256)).spki;
}
