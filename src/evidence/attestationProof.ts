import type { KeyObject } from 'node:crypto';
import { equalBytes, fromBase64url, fromHex, toHex } from '../bytes.ts';
import { importKey } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { measurementIndex } from '../ota/measurementIndex.ts';
import { checkChain } from '../pki/chain.ts';
import { type Certificate, parseCertificate } from '../pki/parse.ts';
import { spdmVersions } from '../spdm/constants.ts';
import { decodeEvidence, verifyEvidence } from '../spdm/evidence.ts';
import type { Measurement } from '../spdm/measurement.ts';
import { type NegotiatedView, negotiatedView } from '../spdm/policy.ts';

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
  /** As encodeEvidence writes it, base64url. */
  readonly evidence: string;
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
  readonly negotiated: NegotiatedView;
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
  const { uid, at, nonceHex, references } = proof;
  let path: readonly Certificate[] = [];
  const trust = (chain: readonly Uint8Array[], uidHex?: string) => {
    const leaf = checkChain(chain.toReversed(), {
      roots: options.roots,
      now: Date.parse(options.at ?? at),
      purpose: 'device',
      ...(uidHex !== undefined && { uid: uidHex }),
    });
    path = chain.toReversed().map(parseCertificate);
    return importKey(leaf.spki);
  };
  const { publicKey } = options;
  const trustKey = publicKey && { trustKey: (key: Uint8Array) => theKey(publicKey, key) };
  const evidence = decodeEvidence(fromBase64url(proof.evidence));
  const verified = await verifyEvidence(evidence, { nonce: fromHex(nonceHex), uidHex: uid, trust, versions: spdmVersions, ...trustKey });
  const measurements = judged(verified.measurements, options.references ?? references);
  const changed = verified.contentChanged ? ['the measurements changed while they were read'] : [];
  const flaws = [...changed, ...flawsOf(verified.measurements, measurements, options.references ?? references)];
  return {
    uid,
    at,
    nonceHex,
    result: flaws.length === 0 ? 'passed' : 'failed',
    flaws,
    certificates: path.map(({ subject, serialHex, notAfter }) => ({
      subject: subject.commonName ?? subject.serialNumber ?? '',
      serialHex,
      notAfter,
    })),
    negotiated: negotiatedView(verified.negotiated, verified.slot),
    measurements,
  };
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
    ...(references.length === 0 ? ['there is no reference value to compare with'] : []),
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
  if (!Array.isArray(references) || !references.every(isReference)) throw unreadable('its reference values');
  return proof as AttestationProof;
}

const isReference = (one: unknown): boolean => {
  const { index, value } = (one ?? {}) as Partial<NamedReference>;
  return Number.isInteger(index) && typeof value === 'string' && /^([0-9a-f]{2})+$/.test(value);
};

const unreadable = (what: string): NusecError => new NusecError('EVIDENCE_MALFORMED', `the attestation cannot be read: ${what}`);
