import { equalBytes } from '../../bytes.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import { discoveryVersion, requestCode, responseCode, type SpdmVersion, spdmError, spdmVersionName } from '../constants.ts';
import type { AlgorithmBits } from '../messages/algorithms.ts';
import { type Capabilities, capabilitiesFor, decodeCapabilities } from '../messages/capabilities.ts';
import { type CertificatePortion, decodeCertificate, decodeGetCertificate } from '../messages/certificate.ts';
import { decodeChallenge, decodeChallengeAuth, requireAnswer } from '../messages/challenge.ts';
import { decodeDigests, type SlotDigest } from '../messages/digests.ts';
import { decodeError } from '../messages/error.ts';
import { decodeGetMeasurements, decodeMeasurements } from '../messages/measurements.ts';
import { decodeVersion } from '../messages/version.ts';
import { readAlgorithms } from '../negotiation.ts';
import type { Algorithms } from '../suite.ts';
import { beforeRequest, emptyTranscript, type Transcript, withDigests, withIdentity, withMeasurements, withVca } from '../transcript.ts';

/** The requester's side of a connection: plain data, and one function per response that checks it against its request and returns the
 *  connection after it. Nothing here verifies a signature: see ../evidence.ts. */

export type Connection = {
  readonly version: number;
  readonly own: Capabilities;
  readonly offer: AlgorithmBits;
  readonly peer?: Capabilities;
  readonly algorithms?: Algorithms;
  readonly transcript: Transcript;
};

export function newConnection(own: Capabilities, offer: AlgorithmBits): Connection {
  return { version: discoveryVersion, own, offer, transcript: emptyTranscript };
}

/** Takes the highest version that both know. @throws SPDM_UNSUPPORTED when there is none */
export function acceptVersion(
  connection: Connection,
  versions: readonly SpdmVersion[],
  request: Uint8Array,
  response: Uint8Array,
): Connection {
  refuseError(response);
  const offered = decodeVersion(response);
  let version: SpdmVersion | undefined;
  for (const own of versions) if (offered.includes(own) && own > (version ?? 0)) version = own;
  if (!version) {
    const spoken = offered.map(spdmVersionName).join(', ');
    throw new NusecError('SPDM_UNSUPPORTED', `no common SPDM version: the responder has ${spoken}`);
  }
  const own = capabilitiesFor(version, connection.own);
  return { ...connection, version, own, transcript: withVca(emptyTranscript, request, response) };
}

export function acceptCapabilities(connection: Connection, request: Uint8Array, response: Uint8Array): Connection {
  checkHead(connection, response, responseCode.capabilities);
  return { ...connection, peer: decodeCapabilities(response), transcript: withVca(connection.transcript, request, response) };
}

export function acceptAlgorithms(connection: Connection, request: Uint8Array, response: Uint8Array): Connection {
  checkHead(connection, response, responseCode.algorithms);
  const { own, peer } = connection;
  const algorithms = readAlgorithms(request, response, own.flags, peer?.flags ?? 0);
  return { ...connection, algorithms, transcript: withVca(connection.transcript, request, response) };
}

export function acceptDigests(connection: Connection, request: Uint8Array, response: Uint8Array): [Connection, readonly SlotDigest[]] {
  checkHead(connection, response, responseCode.digests);
  const { hash, multiKey } = algorithmsOf(connection);
  const digests = decodeDigests(response, hash.hashBytes, multiKey);
  const before = beforeRequest(connection.transcript, requestCode.getDigests);
  return [{ ...connection, transcript: withDigests(before, request, response) }, digests];
}

/** @throws SPDM_UNEXPECTED for a portion of another slot, an empty one, or more than was asked for */
export function acceptCertificate(connection: Connection, request: Uint8Array, response: Uint8Array): [Connection, CertificatePortion] {
  checkHead(connection, response, responseCode.certificate);
  const asked = decodeGetCertificate(request);
  const part = decodeCertificate(response);
  const fits = part.portion.length > 0 && part.portion.length <= asked.length;
  if (part.slot !== asked.slot || part.large !== asked.large || !fits) throw unexpected('CERTIFICATE is not the portion asked for');
  const before = beforeRequest(connection.transcript, requestCode.getCertificate);
  return [{ ...connection, transcript: withIdentity(before, request, response) }, part];
}

/** Empties B. The caller keeps what was signed: the transcript before this, request and response. */
export function acceptChallengeAuth(connection: Connection, request: Uint8Array, response: Uint8Array): Connection {
  checkHead(connection, response, responseCode.challengeAuth);
  const asked = decodeChallenge(request);
  const answer = decodeChallengeAuth(response, algorithmsOf(connection), asked.summaryType);
  requireAnswer(asked, answer);
  const before = beforeRequest(connection.transcript, requestCode.challenge);
  return { ...connection, transcript: { ...before, identity: [] } };
}

/** @returns the connection, whose `transcript.measurements` holds what is signed so far; empty it after a signed response with `takeMeasurements` */
export function acceptMeasurements(connection: Connection, request: Uint8Array, response: Uint8Array): Connection {
  checkHead(connection, response, responseCode.measurements);
  const asked = decodeGetMeasurements(request);
  const { signature } = algorithmsOf(connection);
  const { context } = decodeMeasurements(response, asked.signed ? signature.signatureBytes : 0);
  if (!equalBytes(context, asked.context)) throw unexpected('MEASUREMENTS are not for this request');
  const before = beforeRequest(connection.transcript, requestCode.getMeasurements);
  return { ...connection, transcript: withMeasurements(before, request, response) };
}

/** The measurement messages since the last signed ones, which a signed response ends. */
export function takeMeasurements(connection: Connection): [Connection, readonly Uint8Array[]] {
  const { transcript } = connection;
  return [{ ...connection, transcript: { ...transcript, measurements: [] } }, transcript.measurements];
}

export function algorithmsOf(connection: Connection): Algorithms {
  if (!connection.algorithms) throw unexpected('algorithms are not negotiated');
  return connection.algorithms;
}

/** @throws SPDM_UNSUPPORTED */
export function requirePeer(connection: Connection, flag: number, what: string): void {
  if (((connection.peer?.flags ?? 0) & flag) !== flag) throw new NusecError('SPDM_UNSUPPORTED', `responder has no ${what}`);
}

/** Whether both sides have a capability. */
export const bothHave = ({ own, peer }: Connection, flag: number): boolean => (own.flags & (peer?.flags ?? 0) & flag) !== 0;

/** @throws SPDM_UNEXPECTED for another code or another version; for an ERROR by its code SPDM_UNSUPPORTED or SPDM_BUSY */
export function checkHead({ version }: { readonly version: number }, response: Uint8Array, code: number): void {
  refuseError(response);
  if (response[1] !== code || response[0] !== version) throw unexpected('response of another code or version');
}

function refuseError(response: Uint8Array): void {
  if (response[1] !== responseCode.error) return;
  const { code, data } = decodeError(response);
  const name = Object.entries(spdmError).find(([, number]) => number === code)?.[0] ?? 'unknown';
  throw new NusecError(errorCodeOf(code), `responder answers ERROR ${code} (${data}): ${name}`);
}

/** ERRORs of a responder that does not speak what it was asked. */
const notSpoken: ReadonlySet<number> = new Set([
  spdmError.invalidRequest,
  spdmError.unsupportedRequest,
  spdmError.sessionRequired,
  spdmError.responseTooLarge,
  spdmError.requestTooLarge,
  spdmError.largeResponse,
  spdmError.invalidPolicy,
  spdmError.versionMismatch,
]);

/** Any other ERROR may pass: Busy, Unspecified, UnexpectedRequest after a restart, ResetRequired … None is a proof of anything. */
const errorCodeOf = (code: number): ErrorCode => (notSpoken.has(code) ? 'SPDM_UNSUPPORTED' : 'SPDM_BUSY');

export const unexpected = (detail: string): NusecError => new NusecError('SPDM_UNEXPECTED', detail);
