import type { KeyObject } from 'node:crypto';
import { equalBytes, fromBase64url, fromHex, toHex } from '../bytes.ts';
import { verifyToken } from '../eat/psaToken.ts';
import { importKey } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { measurementIndex } from '../ota/measurementIndex.ts';
import { checkChain } from '../pki/chain.ts';
import { type Certificate, parseCertificate } from '../pki/parse.ts';
import { spdmVersions } from '../spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../spdm/evidence.ts';
import type { Measurement } from '../spdm/measurement.ts';
import { type NegotiatedView, negotiatedView } from '../spdm/policy.ts';
import { readEvidence } from './deviceEvidence.ts';
import { appraiseToken, type TokenPolicy } from './psaAppraisal.ts';

/** One attestation as a file that anybody can verify with the root certificate alone: what the device has signed, the nonce that the server had chosen,
 *  and what the server had compared it with. */

export const attestationProofFormat = 'nusec-attestation/1';
/** Longest file that is read. */
const maxAttestationProofBytes = 1024 * 1024;

/** What a measurement has to be; several of one index are alternatives. */
export type NamedReference = {
  readonly index: number;
  /** Hex. */
  readonly value: string;
  readonly releaseId?: string;
  readonly version?: string;
};

export type AttestationProof = {
  readonly format: typeof attestationProofFormat;
  readonly uid: string;
  readonly line: string;
  /** When the server judged it. */
  readonly at: string;
  readonly via: string;
  readonly nonceHex: string;
  /** What the server said, and why. */
  readonly result: string;
  readonly reason?: string;
  /** As encodeEvidence writes it, or a PSA attestation token; base64url. */
  readonly evidence: string;
  /** Of a token: what the line asked of it, and the certificates of its key (DER, base64url, leaf first) where the key is that of a certificate. */
  readonly token?: TokenPolicy & { readonly certificates?: readonly string[] };
  /** What the registry of the server knew of the device then. */
  readonly references: readonly NamedReference[];
};

export type ProvenMeasurement = {
  readonly index: number;
  readonly name: string;
  readonly value: string;
  /** The reference that it equals; absent for what has none. */
  readonly reference?: NamedReference;
  readonly judgement: 'equal' | 'differs' | 'not judged';
};

export type ProvenAttestation = {
  readonly uid: string;
  readonly at: string;
  readonly nonceHex: string;
  readonly result: 'passed' | 'failed';
  /** What does not hold, in words. */
  readonly flaws: readonly string[];
  /** Leaf first. */
  readonly certificates: readonly { readonly subject: string; readonly serialHex: string; readonly notAfter: string }[];
  /** Of SPDM. */
  readonly negotiated?: NegotiatedView;
  /** Of a PSA attestation token. */
  readonly token?: { readonly profile: string; readonly algorithm: string; readonly lifeCycle: string; readonly implementationId: string };
  readonly measurements: readonly ProvenMeasurement[];
};

export type ProofOptions = {
  /** Trusted root certificates, DER. */
  readonly roots: readonly Uint8Array[];
  /** When the certificates have to be valid; the time of the attestation when not given. */
  readonly at?: string;
  /** In the place of those in the file. */
  readonly references?: readonly NamedReference[];
  /** SubjectPublicKeyInfo of a device that has no certificate. */
  readonly publicKey?: KeyObject;
};

/** Verifies signatures, nonce and chain, and compares the measurements.
 *  @throws NusecError EVIDENCE_MALFORMED (not such a file), CHAIN_REFUSED, CERTIFICATE_EXPIRED, SPDM_SIGNATURE, SPDM_UNEXPECTED …: nothing is proven then */
export async function verifyAttestationProof(text: string, options: ProofOptions): Promise<ProvenAttestation> {
  const proof = readProof(text);
  const { uid, at, nonceHex } = proof;
  const references = options.references ?? proof.references;
  const judge = openChainCheck(options, uid, at);
  const evidence = readEvidence(fromBase64url(proof.evidence));
  const { flaws, ...shown } =
    evidence.kind === 'psa-token'
      ? await provenByToken(proof, evidence.token, references, keyOfToken(proof, options, judge.check))
      : await provenBySpdm(proof, evidence, references, judge.check, options.publicKey);
  const none = references.length === 0 ? ['there is no reference value to compare with'] : [];
  // Who chooses the reference values chooses what is judged; a file does not.
  const unjudged = options.references === undefined && none.length === 0 ? shown.measurements.filter(isUnjudgedImage) : [];
  const all = [...flaws, ...none, ...unjudged.map(({ name }) => `${name}: there is no reference value to compare with`)];
  const certificates = judge.path().map(({ subject, serialHex, notAfter }) => ({
    subject: subject.commonName ?? subject.serialNumber ?? '',
    serialHex,
    notAfter,
  }));
  return { uid, at, nonceHex, result: all.length === 0 ? 'passed' : 'failed', flaws: all, certificates, ...shown };
}

const isUnjudgedImage = ({ index, judgement }: ProvenMeasurement): boolean =>
  judgement === 'not judged' && (index === measurementIndex.bl2 || index === measurementIndex.application);

/** Checks the chain of the device, root first, and keeps it to be shown. */
function openChainCheck(options: ProofOptions, uid: string, at: string) {
  let path: readonly Certificate[] = [];
  const check = (chain: readonly Uint8Array[]) => {
    const leaf = checkChain(chain.toReversed(), { roots: options.roots, now: Date.parse(options.at ?? at), purpose: 'device', uid });
    path = chain.toReversed().map(parseCertificate);
    return importKey(leaf.spki);
  };
  return { check, path: () => path };
}

type Check = ReturnType<typeof openChainCheck>['check'];
type Shown = Pick<ProvenAttestation, 'flaws' | 'measurements' | 'negotiated' | 'token'>;

async function provenBySpdm(
  { uid, nonceHex }: AttestationProof,
  evidence: Evidence,
  references: readonly NamedReference[],
  trust: Check,
  publicKey: KeyObject | undefined,
): Promise<Shown> {
  const trustKey = publicKey && { trustKey: (key: Uint8Array) => theKey(publicKey, key) };
  const verified = await verifyEvidence(evidence, { nonce: fromHex(nonceHex), uidHex: uid, trust, versions: spdmVersions, ...trustKey });
  const measurements = judged(verified.measurements, references);
  const changed = verified.contentChanged ? ['the measurements changed while they were read'] : [];
  const flaws = [...changed, ...flawsOf(verified.measurements, measurements, references)];
  return { flaws, measurements, negotiated: negotiatedView(verified.negotiated, verified.slot) };
}

async function provenByToken(
  { nonceHex, token: policy }: AttestationProof,
  bytes: Uint8Array,
  references: readonly NamedReference[],
  key: KeyObject,
): Promise<Shown> {
  if (policy === undefined) throw unreadable('what the line asked of the token');
  const token = await verifyToken(bytes, { nonce: fromHex(nonceHex), key });
  const { components, flaws } = appraiseToken(token, references, policy);
  const { profile, algorithm, lifeCycle, implementationId } = token;
  return { flaws, measurements: components, token: { profile, algorithm, lifeCycle, implementationId: toHex(implementationId) } };
}

/** That of the certificate in the file, or the one that the verifier knows. @throws NusecError CHAIN_REFUSED, and what the chain is refused for */
function keyOfToken({ token }: AttestationProof, { publicKey }: ProofOptions, check: Check): KeyObject {
  const certificates = token?.certificates;
  if (certificates === undefined) {
    if (publicKey !== undefined) return publicKey;
    throw new NusecError('CHAIN_REFUSED', 'the token is signed by an enrolled key: give it (--public-key)');
  }
  const key = check(certificates.map(fromBase64url).toReversed());
  if (publicKey !== undefined) theKey(publicKey, new Uint8Array(key.export({ format: 'der', type: 'spki' })));
  return key;
}

function theKey(known: KeyObject, key: Uint8Array): KeyObject {
  const der = new Uint8Array(known.export({ format: 'der', type: 'spki' }));
  if (!equalBytes(der, key)) throw new NusecError('CHAIN_REFUSED', 'the device proves itself with another key than the one given');
  return known;
}

const names: Readonly<Record<number, string>> = {
  [measurementIndex.bl2]: 'bootloader',
  [measurementIndex.application]: 'application',
  [measurementIndex.secureVersion]: 'version and counter',
  [measurementIndex.hardwareState]: 'hardware state',
  [measurementIndex.imageState]: 'image state',
  [measurementIndex.otpCounter]: 'counter in OTP',
};
const nameOf = (index: number): string => names[index] ?? `measurement ${index}`;

function judged(measurements: readonly Measurement[], references: readonly NamedReference[]): readonly ProvenMeasurement[] {
  return measurements.map(({ index, value }) => {
    const own = references.filter(reference => reference.index === index);
    const reference = own.find(one => one.value === toHex(value));
    const judgement = own.length === 0 ? 'not judged' : reference === undefined ? 'differs' : 'equal';
    return { index, name: nameOf(index), value: toHex(value), ...(reference && { reference }), judgement };
  });
}

/** Byte of the hardware state (see ota/measurementIndex.ts), and its value for a locked debug port. */
const debugStateOffset = 2;
const debugLocked = 1;

function flawsOf(
  raw: readonly Measurement[],
  measurements: readonly ProvenMeasurement[],
  references: readonly NamedReference[],
): readonly string[] {
  const missing = [...new Set(references.map(({ index }) => index))].filter(index => !measurements.some(one => one.index === index));
  const differing = measurements.filter(({ judgement }) => judgement === 'differs');
  const hardware = raw.find(({ index }) => index === measurementIndex.hardwareState);
  const isLocked = hardware?.raw === true && hardware.value[debugStateOffset] === debugLocked;
  return [
    ...missing.map(index => `${nameOf(index)}: missing`),
    ...differing.map(({ name }) => `${name}: equals no reference`),
    ...(isLocked ? [] : ['hardware state: the debug port is not locked, or is not measured']),
  ];
}

/** @throws NusecError EVIDENCE_MALFORMED */
function readProof(text: string): AttestationProof {
  if (text.length > maxAttestationProofBytes) throw unreadable(`longer than ${maxAttestationProofBytes} bytes`);
  let proof: Partial<AttestationProof>;
  try {
    proof = JSON.parse(text) as Partial<AttestationProof>;
  } catch {
    throw unreadable('not JSON');
  }
  const { format, uid, at, nonceHex, evidence, references } = proof ?? {};
  const isText = [uid, at, nonceHex, evidence].every(field => typeof field === 'string');
  if (format !== attestationProofFormat) throw unreadable(`not of the format ${attestationProofFormat}`);
  if (!isText || !/^[0-9a-f]{64}$/.test(nonceHex ?? '') || Number.isNaN(Date.parse(at ?? ''))) throw unreadable('a field is missing');
  if (proof.token !== undefined && !isTokenPolicy(proof.token)) throw unreadable('what the line asked of the token');
  if (!Array.isArray(references) || !references.every(isReference)) throw unreadable('its reference values');
  return proof as AttestationProof;
}

const isReference = (one: unknown): boolean => {
  const { index, value } = (one ?? {}) as Partial<NamedReference>;
  return Number.isInteger(index) && typeof value === 'string' && /^([0-9a-f]{2})+$/.test(value);
};

const isTokenPolicy = ({ caller, instanceId, implementationId = '', certificates = [] }: NonNullable<AttestationProof['token']>): boolean =>
  (caller === 'secure' || caller === 'non-secure') &&
  /^[0-9a-f]{66}$/.test(instanceId) &&
  /^([0-9a-f]{64})?$/.test(implementationId) &&
  Array.isArray(certificates) &&
  certificates.every(one => typeof one === 'string');

const unreadable = (what: string): NusecError => new NusecError('EVIDENCE_MALFORMED', `the attestation cannot be read: ${what}`);
