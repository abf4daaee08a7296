import { concat } from '../bytes.ts';
import { requestCode } from './constants.ts';

/** The transcripts of a connection (DSP0274 §10.8.2, §10.11.3, §10.16.1), kept as raw messages by both roles in the same way.
 *  Plain data: updating returns a new record, so a requester can be stored between two messages. */

export type Transcript = {
  /** A: GET_VERSION to ALGORITHMS, six messages. */
  readonly vca: readonly Uint8Array[];
  /** B: GET_DIGESTS, DIGESTS, GET_CERTIFICATE, CERTIFICATE since the last GET_DIGESTS, the start or the last CHALLENGE. */
  readonly identity: readonly Uint8Array[];
  /** GET_MEASUREMENTS, MEASUREMENTS since the last signed one (outside of sessions). */
  readonly measurements: readonly Uint8Array[];
  /** D: the DIGESTS response right after A, part of sessions on multi-key connections; empty when something else came first (§17, ordering rules). */
  readonly digests?: Uint8Array;
};

export const emptyTranscript: Transcript = { vca: [], identity: [], measurements: [] };

/** Limit on unsigned measurement messages and portions kept for a later signature. */
export const maxTranscriptBytes = 0x28000;

/** What the arrival of a request does before it is worked on: any other request than GET_MEASUREMENTS empties L1/L2; GET_DIGESTS begins B again;
 *  a requester that continues without CHALLENGE empties B; the first message after A decides whether there is a D.
 *  CHUNK_GET only fetches what was answered before. */
export function beforeRequest(transcript: Transcript, code: number): Transcript {
  if (code === requestCode.chunkGet) return transcript;
  const measurements = measurementsBefore(transcript.measurements, code);
  const identity = keepsIdentity.has(code) ? transcript.identity : none;
  const closesDigests = code !== requestCode.getDigests && transcript.digests === undefined && transcript.vca.length === vcaMessages;
  const same = measurements.length === transcript.measurements.length && identity.length === transcript.identity.length && !closesDigests;
  return same ? transcript : { ...transcript, measurements, identity, ...(closesDigests ? { digests: new Uint8Array() } : {}) };
}

/** The same for L1/L2 alone, which each session has for itself. */
export function measurementsBefore(measurements: readonly Uint8Array[], code: number): readonly Uint8Array[] {
  return code === requestCode.getMeasurements || code === requestCode.chunkGet ? measurements : none;
}

const none: readonly Uint8Array[] = [];
const vcaMessages = 6;
const keepsIdentity: ReadonlySet<number> = new Set([requestCode.getCertificate, requestCode.challenge]);

/** @param response DIGESTS */
export const withDigests = (transcript: Transcript, request: Uint8Array, response: Uint8Array): Transcript => ({
  ...withIdentity(transcript, request, response),
  digests: transcript.digests ?? response,
});

export const withVca = (transcript: Transcript, ...messages: readonly Uint8Array[]): Transcript => ({
  ...transcript,
  vca: [...transcript.vca, ...messages],
});

export const withIdentity = (transcript: Transcript, request: Uint8Array, response: Uint8Array): Transcript => ({
  ...transcript,
  identity: [...transcript.identity, request, response],
});

export const withMeasurements = (transcript: Transcript, request: Uint8Array, response: Uint8Array): Transcript => ({
  ...transcript,
  measurements: [...transcript.measurements, request, response],
});

export function transcriptBytes(messages: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const { length } of messages) bytes += length;
  return bytes;
}

/** M1/M2 = A ‖ B ‖ C. @param response CHALLENGE_AUTH without its signature */
export function challengeTranscript(transcript: Transcript, request: Uint8Array, response: Uint8Array): Uint8Array {
  const { vca, identity } = transcript;
  const joined = Buffer.allocUnsafe(transcriptBytes(vca) + transcriptBytes(identity) + request.length + response.length);
  let at = 0;
  const append = (message: Uint8Array): void => {
    joined.set(message, at);
    at += message.length;
  };
  vca.forEach(append);
  identity.forEach(append);
  append(request);
  append(response);
  return joined;
}

/** L1/L2 = (A if ≥ 1.2) ‖ the measurement messages, the last response without its signature. */
export function measurementTranscript(version: number, vca: readonly Uint8Array[], messages: readonly Uint8Array[]): Uint8Array {
  return concat(...(version >= 0x12 ? vca : []), ...messages);
}

/** The start of every TH: A ‖ [D] ‖ H(chain). */
export function sessionTranscriptHead(transcript: Transcript, multiKey: boolean, chainHash: Uint8Array): Uint8Array {
  return concat(...transcript.vca, ...(multiKey && transcript.digests ? [transcript.digests] : []), chainHash);
}
