import { malformed } from '../codec.ts';
import { capability, nonceBytes, requesterContextBytes } from '../constants.ts';
import type { Evidence } from '../evidence.ts';
import { encodeChallenge, slotInAnswer } from '../messages/challenge.ts';
import { keyUse } from '../messages/digests.ts';
import { allOperation, encodeGetMeasurements } from '../messages/measurements.ts';
import { acceptChallengeAuth, acceptMeasurements, type Connection, requirePeer, takeMeasurements } from './connection.ts';
import {
  continueIdentification,
  defaultIdentifyOptions,
  type Identification,
  type IdentifyOptions,
  startIdentification,
} from './identify.ts';

/** Attestation as a requester: VERSION … CERTIFICATE, CHALLENGE, signed GET_MEASUREMENTS. The state is plain data (bytes, numbers, strings), about
 *  as large as the certificate chain: it can be stored between two messages. The result is evidence, which is only accepted after
 *  `verifyEvidence`: the party that runs this flow needs no trust and cannot forge anything. A responder without CHALLENGE proves itself by its
 *  signed measurements alone. */

export type AttestationOptions = IdentifyOptions & {
  /** The verifier's nonce, 32 bytes: in CHALLENGE and in GET_MEASUREMENTS. */
  readonly nonce: Uint8Array;
  /** 0xFF all measurements, or one index; 'none' stops after CHALLENGE. */
  readonly measurements: number | 'none';
  /** Whether raw values are asked for instead of digests. */
  readonly raw: boolean;
};

export type AttestationState = {
  readonly options: AttestationOptions;
  readonly step: 'identify' | 'challenge' | 'measurements';
  readonly identification: Identification;
  readonly request: Uint8Array;
  readonly evidence?: Evidence;
};

export type AttestationStep = { readonly state: AttestationState; readonly send: Uint8Array } | { readonly evidence: Evidence };

/** @throws SPDM_MALFORMED when the nonce is not 32 bytes long */
export function startAttestation(given: Pick<AttestationOptions, 'nonce'> & Partial<AttestationOptions>): AttestationStep {
  const uses = given.measurements === 'none' ? [keyUse.challenge] : [keyUse.challenge, keyUse.measurements];
  const options: AttestationOptions = { ...defaultIdentifyOptions, measurements: allOperation, raw: false, uses, ...given };
  if (options.nonce.length !== nonceBytes) throw malformed('nonce is not 32 bytes long');
  const identification = startIdentification(options);
  return send({ options, step: 'identify', identification, request: identification.request });
}

/** @param response a clear SPDM message
 *  @throws SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_UNSUPPORTED, SPDM_BUSY (an ERROR that may pass); the attestation then starts again */
export function continueAttestation(state: AttestationState, response: Uint8Array): AttestationStep {
  switch (state.step) {
    case 'identify':
      return identified(state, continueIdentification(state.options, state.identification, response));
    case 'challenge':
      return challenged(state, response);
    case 'measurements':
      return measured(state, response);
  }
}

function identified(state: AttestationState, identification: Identification): AttestationStep {
  if (identification.step !== 'done') return send({ ...state, identification, request: identification.request });
  const { nonce, measurements } = state.options;
  const { connection, slot } = identification;
  const hasChallenge = ((connection.peer?.flags ?? 0) & capability.challenge) !== 0;
  if (!hasChallenge && measurements !== 'none') return askMeasurements({ ...state, identification }, []);
  requirePeer(connection, capability.challenge, 'CHALLENGE');
  const request = encodeChallenge(connection.version, { slot, summaryType: 0, nonce, context: contextOf(connection.version, nonce) });
  return send({ ...state, step: 'challenge', identification, request });
}

function challenged(state: AttestationState, response: Uint8Array): AttestationStep {
  const { options, request, identification } = state;
  const connection = acceptChallengeAuth(identification.connection, request, response);
  if (options.measurements === 'none') return { evidence: evidenceOf(identification, [request, response]) };
  return askMeasurements(state, [request, response], connection);
}

/** @param exchange CHALLENGE and CHALLENGE_AUTH, empty without them */
function askMeasurements(state: AttestationState, exchange: readonly Uint8Array[], after?: Connection): AttestationStep {
  const { options, identification } = state;
  const connection = after ?? identification.connection;
  requirePeer(connection, capability.measurementsSigned, 'signed measurements');
  const { version } = connection;
  const { nonce, raw, measurements } = options;
  const operation = measurements === 'none' ? allOperation : measurements;
  const signed = { nonce, slot: slotInAnswer(identification.slot) };
  const request = encodeGetMeasurements(version, { operation, raw, context: contextOf(version, nonce), signed });
  const evidence = evidenceOf(identification, exchange);
  return send({ ...state, step: 'measurements', identification: { ...identification, connection }, request, evidence });
}

function evidenceOf({ connection, chain }: Identification, exchange: readonly Uint8Array[]): Evidence {
  const { vca, identity } = connection.transcript;
  return { kind: 'attestation', vca, identity, exchange, measurements: [], chain };
}

function measured(state: AttestationState, response: Uint8Array): AttestationStep {
  const connection = acceptMeasurements(state.identification.connection, state.request, response);
  const [, measurements] = takeMeasurements(connection);
  return { evidence: { ...state.evidence!, measurements } };
}

/** RequesterContext (1.3+): the first bytes of the nonce; any value would do. */
function contextOf(version: number, nonce: Uint8Array): Uint8Array {
  return nonce.slice(0, version >= 0x13 ? requesterContextBytes : 0);
}

const send = (state: AttestationState): AttestationStep => ({ state, send: state.request });
