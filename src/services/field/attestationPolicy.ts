import { fromBase64url, toHex } from '../../bytes.ts';
import type { AttestationPolicy } from '../../domain/attestationPolicy.ts';
import { attestationKeyOf, currentCertificate, type DeviceCertificate, type LivingDevice } from '../../domain/deviceState.ts';
import { line, lineStream, policyOf } from '../../domain/line.ts';
import { instanceIdOfKey } from '../../eat/psaClaims.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import type { TokenPolicy } from '../../evidence/psaAppraisal.ts';
import { spdmVersionName, spdmVersions } from '../../spdm/constants.ts';
import { demandedCapabilities, type SpdmPolicy } from '../../spdm/policy.ts';
import { type Context, reader } from '../base/context.ts';
import { storedCertificate } from '../identity/storedCertificate.ts';

/** What the line of a device asks of it in SPDM. */
export type AskedSpdm = {
  readonly spdm: SpdmPolicy;
  /** SubjectPublicKeyInfo that a device without certificates is known by; undefined where the line allows none. */
  readonly publicKey?: Uint8Array;
};

/** What the line of a device asks of it as proof. */
export type DevicePolicy = AskedSpdm & {
  /** Of a line whose devices give PSA attestation tokens: how they are judged, and the key that signs them (SubjectPublicKeyInfo). */
  readonly token?: TokenPolicy & { readonly key: Uint8Array };
};

/** What a machine with the device on its wires asks it for, in the words of the API. */
export type WirePolicy = {
  readonly leastVersion: string;
  readonly signatures: readonly string[];
  /** As in DevicePolicy. */
  readonly publicKey?: Uint8Array;
};

export const wirePolicy = ({ spdm: { leastVersion, signatures }, publicKey }: AskedSpdm): WirePolicy => ({
  leastVersion: spdmVersionName(leastVersion),
  signatures,
  ...(publicKey && { publicKey }),
});

/** @param read where more is read at once @throws NusecError EVIDENCE_UNSUPPORTED: tokens are asked for, and no key of the device is known */
export async function devicePolicy(ctx: Context, state: LivingDevice, read: Read = reader(ctx)): Promise<DevicePolicy> {
  const policy = await linePolicy(state, read);
  const asked = await askedBy(ctx, policy, state);
  return { ...asked, ...(policy.evidence === 'psa-token' && { token: tokenPolicy(policy, state, asked.publicKey) }) };
}

/** @param certificate the one that the device has, or will have */
export const askedSpdm = async (
  ctx: Context,
  state: LivingDevice,
  certificate: Certified | undefined = currentCertificate(state),
): Promise<AskedSpdm> => askedBy(ctx, await linePolicy(state, reader(ctx)), state, certificate);

async function linePolicy(state: LivingDevice, read: Read): Promise<AttestationPolicy> {
  const known = await read(line, lineStream(state.line));
  return policyOf(known.status === 'NONE' ? {} : known);
}

async function askedBy(
  ctx: Context,
  policy: AttestationPolicy,
  state: LivingDevice,
  certificate: Certified | undefined = currentCertificate(state),
): Promise<AskedSpdm> {
  const publicKey = policy.publicKey || policy.evidence === 'psa-token' ? await knownKey(ctx, state, certificate) : undefined;
  return { spdm: spdmOf(policy), ...(publicKey && { publicKey }) };
}

/** @throws NusecError EVIDENCE_UNSUPPORTED: no key of the device is known */
function tokenPolicy({ caller, implementationId }: AttestationPolicy, state: LivingDevice, key: Uint8Array | undefined) {
  const { uid, generation, attestationKeys = [] } = state;
  const enrolled = attestationKeyOf(state);
  if (key === undefined) {
    const why = attestationKeys.length > 0 ? `; the one that was enrolled ended with generation ${generation - 1}` : '';
    throw new NusecError('EVIDENCE_UNSUPPORTED', `no key of ${uid} is known: enrol one (nusec device attestation-key)${why}`);
  }
  const instanceId = enrolled?.instanceId ?? toHex(instanceIdOfKey(key));
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

type Certified = Pick<DeviceCertificate, 'certificateSha256'>;

/** The enrolled one, or that of its certificate. A device whose enrolled key ended with a repair may still have it, so its certificate's does not take
 *  that place: nothing it signs with another key would say anything. */
async function knownKey(ctx: Context, state: LivingDevice, certificate: Certified | undefined): Promise<Uint8Array | undefined> {
  const { next } = state.repair ?? {};
  const isNext = next?.certificate !== undefined && next.certificate.certificateSha256 === certificate?.certificateSha256;
  const enrolled = attestationKeyOf(state, isNext ? next.generation : undefined);
  if (enrolled !== undefined) return fromBase64url(enrolled.publicKey);
  if (state.attestationKeys !== undefined) return undefined;
  return certificate && (await storedCertificate(ctx, certificate.certificateSha256)).spki;
}
