import type { KeyObject } from 'node:crypto';
import { concat, equalBytes, fromBase64url, toBase64url, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { decodeCertificateChain, digestOfChain } from './certChain.ts';
import { malformed } from './codec.ts';
import { capability, provisionedSlot, provisionedSlotInAnswer, requestCode, type SpdmVersion } from './constants.ts';
import { knownMeanings } from './known.ts';
import {
  decodeMeasurementRecord,
  judgeMeasurements,
  type Measurement,
  type MeasurementVerdict,
  type ReferenceValue,
} from './measurement.ts';
import { decodeNegotiateAlgorithms } from './messages/algorithms.ts';
import { decodeCapabilities, decodeGetCapabilities } from './messages/capabilities.ts';
import { decodeCertificate, decodeGetCertificate } from './messages/certificate.ts';
import { decodeChallenge, decodeChallengeAuth, requireAnswer } from './messages/challenge.ts';
import { decodeDigests, decodeGetDigests, type KeyUse, keyUse, requireKeyUse, type SlotDigest } from './messages/digests.ts';
import { decodeKeyExchange, decodeKeyExchangeRsp } from './messages/keyExchange.ts';
import { decodeGetMeasurements, decodeMeasurements } from './messages/measurements.ts';
import { decodeGetVersion, decodeVersion } from './messages/version.ts';
import { readAlgorithms } from './negotiation.ts';
import { importLeafKey, type LeafKey, signingInput, type VerifyPlace, verifyByKey } from './signature.ts';
import type { Algorithms } from './suite.ts';
import { challengeTranscript, measurementTranscript, sessionTranscriptHead } from './transcript.ts';

/** Evidence (RFC 9334): the raw messages a device signed, enough for anybody to verify them again later without trusting who relayed them. */
export type Evidence = {
  /** 'attestation': CHALLENGE and measurements. 'session': the key exchange of a session. */
  readonly kind: 'attestation' | 'session';
  /** A: six messages, GET_VERSION to ALGORITHMS. */
  readonly vca: readonly Uint8Array[];
  /** Attestation: B, pairs of GET_DIGESTS/DIGESTS and GET_CERTIFICATE/CERTIFICATE. Session: the DIGESTS pair, signed on multi-key connections only. */
  readonly identity: readonly Uint8Array[];
  /** CHALLENGE and CHALLENGE_AUTH, empty for a device without them, whose measurements are signed; or KEY_EXCHANGE and KEY_EXCHANGE_RSP. */
  readonly exchange: readonly Uint8Array[];
  /** Pairs of GET_MEASUREMENTS/MEASUREMENTS, the last one signed; empty when they were not asked for. */
  readonly measurements: readonly Uint8Array[];
  /** The certificate chain structure; SubjectPublicKeyInfo of a device that is known by its key (slot 0xFF). */
  readonly chain: Uint8Array;
};

export type VerifyOptions = {
  /** Judges the chain (DER, root first, leaf last) for that device. @returns the leaf's public key, or throws */
  readonly trust: (certificates: readonly Uint8Array[], uidHex: string | undefined) => LeafKey | Promise<LeafKey>;
  /** Judges the public key (SubjectPublicKeyInfo) of a device without certificates. @returns that key, or throws. Without it such evidence is refused. */
  readonly trustKey?: (publicKey: Uint8Array, uidHex: string | undefined) => LeafKey | Promise<LeafKey>;
  /** The verifier's nonce: of CHALLENGE and GET_MEASUREMENTS, or RandomData of KEY_EXCHANGE. */
  readonly nonce: Uint8Array;
  /** Handed to `trust`. */
  readonly uidHex?: string;
  readonly referenceValues?: readonly ReferenceValue[];
  readonly place?: VerifyPlace;
  /** Accepted versions, so that nobody can talk a device down: 1.2 and later when not given. */
  readonly versions?: readonly SpdmVersion[];
};

export type VerifiedEvidence = {
  readonly version: number;
  readonly slot: number;
  /** What both sides agreed on. */
  readonly negotiated: NegotiatedFacts;
  /** Hash of the chain structure, as in DIGESTS: the key of a cache of trusted chains. */
  readonly chainDigest: Uint8Array;
  readonly measurements: readonly Measurement[];
  /** The device says that a measurement changed while they were read: what it measures now is another thing. */
  readonly contentChanged: boolean;
  /** Present when reference values were given. */
  readonly verdict?: MeasurementVerdict;
};

/** What both sides agreed on, and what each had offered: whether a device could have done better, or was not asked to. */
export type NegotiatedFacts = {
  readonly version: number;
  readonly algorithms: Algorithms;
  /** Capability flags of the responder. */
  readonly capabilities: number;
  /** Versions of VERSION. */
  readonly versions: readonly number[];
  /** BaseAsymAlgo and PqcAsymAlgo that the requester offered. */
  readonly offered: { readonly baseAsym: number; readonly pqcAsym: number };
};

const defaultVersions: readonly SpdmVersion[] = [0x12, 0x13, 0x14];

/** Verifies evidence from its raw bytes.
 *  @throws SPDM_MALFORMED, SPDM_UNEXPECTED (another nonce, slot or chain), SPDM_UNSUPPORTED (version, algorithms), SPDM_SIGNATURE; and whatever `trust` throws */
export async function verifyEvidence(evidence: Evidence, options: VerifyOptions): Promise<VerifiedEvidence> {
  const negotiated = readVca(evidence.vca, options.versions ?? defaultVersions);
  const { version, algorithms } = negotiated;
  const digests = readIdentity(evidence.identity, negotiated);
  const chainDigest = digestOfChain(algorithms.hash, evidence.chain);
  const leafKey = importLeafKey(algorithms.signature, await trustedKey(evidence, negotiated, options));
  const subject: Subject = { evidence, negotiated, digests, chainDigest, leafKey, nonce: options.nonce, place: options.place };
  const slot = evidence.kind === 'session' ? await verifyKeyExchange(subject) : await verifyChallenge(subject);
  const { measurements, contentChanged } = await verifyMeasurements(subject, slot);
  const verdict = options.referenceValues && { verdict: judgeMeasurements(measurements, options.referenceValues) };
  return { version, slot, negotiated, chainDigest, measurements, contentChanged, ...verdict };
}

/** By its certificates, or by its public key, as the signed request names the one or the other. */
function trustedKey(evidence: Evidence, { version, algorithms }: Negotiated, { trust, trustKey, uidHex }: VerifyOptions) {
  if (!isProvisioned(evidence, algorithms))
    return trust(decodeCertificateChain(version, algorithms.hash, evidence.chain).certificates, uidHex);
  if (trustKey === undefined)
    throw new NusecError('SPDM_UNSUPPORTED', 'the device has no certificate, and its public key alone is not enough here');
  return trustKey(evidence.chain, uidHex);
}

function isProvisioned({ kind, exchange, measurements }: Evidence, { dhe }: Algorithms): boolean {
  const [request] = exchange;
  if (kind === 'session') return dhe !== undefined && request !== undefined && decodeKeyExchange(request, dhe).slot === provisionedSlot;
  if (request !== undefined) return decodeChallenge(request).slot === provisionedSlot;
  return signedSlotOf(measurements) === provisionedSlotInAnswer;
}

/** The slot that the measurements are to be signed by, as GET_MEASUREMENTS names it. @throws SPDM_MALFORMED when none are signed */
function signedSlotOf(measurements: readonly Uint8Array[]): number {
  const request = measurements.at(-2);
  const signed = request && decodeGetMeasurements(request).signed;
  if (!signed) throw malformed('evidence: nothing in it is signed');
  return signed.slot;
}

type Negotiated = NegotiatedFacts & { readonly clearHandshake: boolean };
type Subject = {
  readonly evidence: Evidence;
  readonly negotiated: Negotiated;
  /** The last DIGESTS. */
  readonly digests: readonly SlotDigest[] | undefined;
  readonly chainDigest: Uint8Array;
  readonly leafKey: KeyObject;
  readonly nonce: Uint8Array;
  readonly place: VerifyPlace | undefined;
};

const knownVca = knownMeanings<Negotiated>();

function readVca(vca: readonly Uint8Array[], accepted: readonly SpdmVersion[]): Negotiated {
  let versions = 0;
  for (const version of accepted) versions |= 1 << (version & 0xf);
  return knownVca(vca, () => decodeVca(vca, accepted), versions);
}

function decodeVca(vca: readonly Uint8Array[], accepted: readonly SpdmVersion[]): Negotiated {
  const [getVersion, versions, getCapabilities, capabilities, offer, selection] = exactly(vca, 6) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  decodeGetVersion(getVersion);
  const version = accepted.find(one => one === getCapabilities[0]);
  const known = decodeVersion(versions);
  if (!version || !known.includes(version)) throw new NusecError('SPDM_UNSUPPORTED', 'version of the evidence is not accepted');
  for (const message of [capabilities, offer, selection]) if (message[0] !== version) throw unexpected('versions of the evidence differ');
  const requester = decodeGetCapabilities(getCapabilities).flags;
  const responder = decodeCapabilities(capabilities).flags;
  const algorithms = readAlgorithms(offer, selection, requester, responder);
  const { baseAsym, pqcAsym = 0 } = decodeNegotiateAlgorithms(offer);
  return {
    version,
    algorithms,
    capabilities: responder,
    versions: known,
    offered: { baseAsym, pqcAsym },
    clearHandshake: (requester & responder & capability.handshakeInTheClear) !== 0,
  };
}

/** Every message is read strictly, so that the signed bytes can be cut in one way only. */
function readIdentity(messages: readonly Uint8Array[], { version, algorithms }: Negotiated): readonly SlotDigest[] | undefined {
  let digests: readonly SlotDigest[] | undefined;
  for (const [request, response] of pairs(messages)) {
    sameVersion(version, request, response);
    if (request[1] === requestCode.getDigests) {
      decodeGetDigests(request);
      digests = decodeDigests(response, algorithms.hash.hashBytes, algorithms.multiKey);
    } else {
      decodeGetCertificate(request);
      decodeCertificate(response);
    }
  }
  return digests;
}

/** On connections with several keys DIGESTS say what each key is for. @throws SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_UNSUPPORTED */
function requireUse({ negotiated, digests, chainDigest }: Subject, slot: number, use: KeyUse): void {
  if (!negotiated.algorithms.multiKey || slot === provisionedSlot || slot === provisionedSlotInAnswer) return;
  if (!digests) throw malformed('evidence: DIGESTS are missing');
  const { digest } = requireKeyUse(digests, slot, [use]);
  if (!equalBytes(digest, chainDigest)) throw unexpected('DIGESTS have another chain');
}

async function verifyChallenge(subject: Subject): Promise<number> {
  const { evidence, negotiated, chainDigest, leafKey, nonce, place } = subject;
  const { version, algorithms } = negotiated;
  if (evidence.exchange.length === 0) {
    // L1/L2 has the negotiation since 1.2; before, only CHALLENGE signs it.
    if (version < 0x12) throw new NusecError('SPDM_UNSUPPORTED', 'before 1.2 nothing signs the negotiation but CHALLENGE');
    return signedSlotOf(evidence.measurements);
  }
  const [request, response] = exactly(evidence.exchange, 2) as [Uint8Array, Uint8Array];
  sameVersion(version, request, response);
  const asked = decodeChallenge(request);
  const answer = decodeChallengeAuth(response, algorithms, asked.summaryType);
  const { slot, chainHash, signature } = answer;
  if (!equalBytes(asked.nonce, nonce)) throw unexpected('CHALLENGE has another nonce');
  requireAnswer(asked, answer);
  if (!equalBytes(chainHash, chainDigest)) throw unexpected('CHALLENGE_AUTH is for another chain');
  requireUse(subject, slot, keyUse.challenge);
  const { vca, identity } = evidence;
  const signed = challengeTranscript({ vca, identity, measurements: [] }, request, without(response, signature));
  const input = signingInput(version, algorithms.hash, 'responder-challenge_auth signing', signed);
  await verifyByKey(algorithms, leafKey, input, signature, 'CHALLENGE_AUTH', place);
  return slot;
}

type Verified = Pick<VerifiedEvidence, 'measurements' | 'contentChanged'>;

async function verifyMeasurements(subject: Subject, slot: number): Promise<Verified> {
  const { evidence, negotiated, leafKey, nonce, place } = subject;
  if (evidence.measurements.length === 0) return { measurements: [], contentChanged: false };
  const { version, algorithms } = negotiated;
  const read = pairs(evidence.measurements).map(([request, response], i, all) => {
    sameVersion(version, request, response);
    const asked = decodeGetMeasurements(request);
    const last = i === all.length - 1;
    if ((asked.signed !== undefined) !== last) throw unexpected('the last measurements, and only they, are signed');
    const measured = decodeMeasurements(response, last ? algorithms.signature.signatureBytes : 0);
    if (!equalBytes(measured.context, asked.context)) throw unexpected('MEASUREMENTS have another context');
    return { asked, measured };
  });
  const { asked, measured } = read.at(-1)!;
  if (!equalBytes(asked.signed!.nonce, nonce)) throw unexpected('GET_MEASUREMENTS has another nonce');
  if (asked.signed!.slot !== slot || measured.slot !== slot) throw unexpected('MEASUREMENTS are signed by another slot');
  requireUse(subject, slot, keyUse.measurements);
  const messages = [...evidence.measurements.slice(0, -1), without(evidence.measurements.at(-1)!, measured.signature)];
  const signed = measurementTranscript(version, evidence.vca, messages);
  const input = signingInput(version, algorithms.hash, 'responder-measurements signing', signed);
  await verifyByKey(algorithms, leafKey, input, measured.signature, 'MEASUREMENTS', place);
  const measurements = unique(read.flatMap(one => decodeMeasurementRecord(one.measured.record, one.measured.blockCount)));
  return { measurements, contentChanged: measured.content === 'changed' };
}

async function verifyKeyExchange(subject: Subject): Promise<number> {
  const { evidence, negotiated, chainDigest, leafKey, nonce, place } = subject;
  const { version, algorithms, clearHandshake } = negotiated;
  const { dhe, hash, multiKey } = algorithms;
  if (!dhe) throw new NusecError('SPDM_UNSUPPORTED', 'no key exchange was negotiated');
  const [request, response] = exactly(evidence.exchange, 2) as [Uint8Array, Uint8Array];
  sameVersion(version, request, response);
  const asked = decodeKeyExchange(request, dhe);
  if (!equalBytes(asked.random, nonce)) throw unexpected('KEY_EXCHANGE has another nonce');
  const { signature, verifyData } = decodeKeyExchangeRsp(response, algorithms, dhe, asked.summaryType, clearHandshake ? 0 : hash.hashBytes);
  const [, digests] = evidence.identity;
  requireUse(subject, asked.slot, keyUse.keyExchange);
  const transcript = { vca: evidence.vca, identity: [], measurements: [], ...(digests && { digests }) };
  const head = sessionTranscriptHead(transcript, multiKey, chainDigest);
  const signed = concat(head, request, without(response, signature, verifyData));
  const input = signingInput(version, hash, 'responder-key_exchange_rsp signing', signed);
  await verifyByKey(algorithms, leafKey, input, signature, 'KEY_EXCHANGE_RSP', place);
  return asked.slot === provisionedSlot ? provisionedSlotInAnswer : asked.slot;
}

/** The message without its last part. */
const without = (message: Uint8Array, ...tails: readonly Uint8Array[]): Uint8Array =>
  message.subarray(0, message.length - tails.reduce((sum, tail) => sum + tail.length, 0));

function unique(measurements: readonly Measurement[]): readonly Measurement[] {
  if (new Set(measurements.map(({ index }) => index)).size !== measurements.length) throw malformed('evidence: a measurement twice');
  return measurements;
}

function exactly(messages: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  if (messages.length !== count) throw malformed('evidence: number of messages');
  return messages;
}

function pairs(messages: readonly Uint8Array[]): readonly (readonly [Uint8Array, Uint8Array])[] {
  if (messages.length % 2 !== 0) throw malformed('evidence: number of messages');
  return Array.from({ length: messages.length / 2 }, (_, i) => [messages[2 * i]!, messages[2 * i + 1]!] as const);
}

function sameVersion(version: number, ...messages: readonly Uint8Array[]): void {
  if (messages.some(message => message[0] !== version)) throw unexpected('versions of the evidence differ');
}

const unexpected = (detail: string): NusecError => new NusecError('SPDM_UNEXPECTED', detail);

/** Its bytes for storage: JSON with a fixed order of fields, bytes as base64url; equal evidence gives equal bytes. */
export function encodeEvidence(evidence: Evidence): Uint8Array {
  const { kind, vca, identity, exchange, measurements, chain } = evidence;
  const list = (messages: readonly Uint8Array[]): readonly string[] => messages.map(toBase64url);
  const json = {
    kind,
    vca: list(vca),
    identity: list(identity),
    exchange: list(exchange),
    measurements: list(measurements),
    chain: toBase64url(chain),
  };
  return utf8(JSON.stringify(json));
}

/** Longest evidence that is read. */
export const maxEvidenceBytes = 256 * 1024;

/** @throws SPDM_MALFORMED for whatever `encodeEvidence` does not write */
export function decodeEvidence(bytes: Uint8Array): Evidence {
  if (bytes.length > maxEvidenceBytes) throw malformed('evidence: too long');
  let evidence: Evidence;
  try {
    const json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as { [field in keyof Evidence]: never };
    const list = (field: keyof Evidence): readonly Uint8Array[] => (json[field] as string[]).map(fromBase64url);
    const kind = json.kind === 'session' ? 'session' : 'attestation';
    evidence = {
      kind,
      vca: list('vca'),
      identity: list('identity'),
      exchange: list('exchange'),
      measurements: list('measurements'),
      chain: fromBase64url(json.chain),
    };
  } catch {
    throw malformed('evidence: not its JSON form');
  }
  if (!equalBytes(encodeEvidence(evidence), bytes)) throw malformed('evidence: not its canonical form');
  return evidence;
}
