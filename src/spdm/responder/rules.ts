import { capability, requestCode } from '../constants.ts';
import { handleGetCsr, handleSetCertificate } from './certificate.ts';
import { handleChunkGet } from './chunks.ts';
import { handleGetCapabilities, handleGetVersion, handleNegotiateAlgorithms } from './connection.ts';
import { handleDeliverEncapsulatedResponse, handleGetEncapsulatedRequest } from './encapsulated.ts';
import { handleGetSupportedEventTypes, handleSendEvent, handleSubscribeEventTypes } from './events.ts';
import { handleChallenge, handleGetCertificate, handleGetDigests } from './identity.ts';
import { handleGetEndpointInfo, handleGetKeyPairInfo, handleGetMeasurementLog, handleSetKeyPairInfo } from './inventory.ts';
import { handleGetMeasurements } from './measurements.ts';
import { handlePskExchange, handlePskFinish } from './psk.ts';
import { handleFinish, handleKeyExchange } from './session.ts';
import { handleEndSession, handleHeartbeat, handleKeyUpdate } from './sessionControl.ts';
import type { Handler, Phase } from './state.ts';
import { handleVendorDefined } from './vendorDefined.ts';

/** Which request is admitted when: the table behind the parameter phase (DSP0274 §10, state of the connection; §10.16, "allowed in session"). */

export type Rule = {
  /** Where the connection must be; 'chunks' = after CAPABILITIES, since NEGOTIATE_ALGORITHMS and ALGORITHMS may be too long for one transfer. */
  readonly phase: Phase | 'any' | 'chunks';
  /** The responder must have one of these flags; 0 = none needed. */
  readonly capability: number;
  /** Whether the requester must have it too. */
  readonly both: boolean;
  readonly place: 'clear' | 'session' | 'either';
  /** Allowed inside a session whose handshake is not finished. */
  readonly inHandshake: boolean;
  /** The first version that has it. */
  readonly since: number;
  /** 'chunks': worked on where the whole request is put together. */
  readonly handler: Handler | 'chunks';
};

function rule(phase: Rule['phase'], flags: number, place: Rule['place'], handler: Rule['handler'], more: Partial<Rule> = {}): Rule {
  return { phase, capability: flags, both: false, place, inHandshake: false, since: 0x10, handler, ...more };
}

const { certificate, challenge, keyExchange, psk, heartbeat, keyUpdate, encapsulated, chunk } = capability;
const { keyPairInfo, setKeyPairInfo, endpointInfo, measurementExtensionLog, event } = capability;
const both = { both: true, since: 0x11 } as const;
const handshake = { ...both, inHandshake: true } as const;

export const rules: Readonly<Record<number, Rule>> = {
  [requestCode.getVersion]: rule('any', 0, 'clear', handleGetVersion),
  [requestCode.getCapabilities]: rule('version', 0, 'clear', handleGetCapabilities),
  [requestCode.negotiateAlgorithms]: rule('capabilities', 0, 'clear', handleNegotiateAlgorithms),
  [requestCode.getDigests]: rule('negotiated', certificate, 'either', handleGetDigests),
  [requestCode.getCertificate]: rule('negotiated', certificate, 'either', handleGetCertificate),
  [requestCode.challenge]: rule('negotiated', challenge, 'clear', handleChallenge),
  [requestCode.getMeasurements]: rule('negotiated', 0, 'either', handleGetMeasurements),
  [requestCode.keyExchange]: rule('negotiated', keyExchange, 'clear', handleKeyExchange, both),
  [requestCode.finish]: rule('negotiated', keyExchange, 'either', handleFinish, handshake),
  [requestCode.pskExchange]: rule('negotiated', psk, 'clear', handlePskExchange, { since: 0x11 }),
  [requestCode.pskFinish]: rule('negotiated', 0, 'either', handlePskFinish, { since: 0x11, inHandshake: true }),
  [requestCode.heartbeat]: rule('negotiated', heartbeat, 'session', handleHeartbeat, both),
  [requestCode.keyUpdate]: rule('negotiated', keyUpdate, 'session', handleKeyUpdate, both),
  [requestCode.getEncapsulatedRequest]: rule('negotiated', encapsulated, 'either', handleGetEncapsulatedRequest, handshake),
  [requestCode.deliverEncapsulatedResponse]: rule('negotiated', encapsulated, 'either', handleDeliverEncapsulatedResponse, handshake),
  [requestCode.endSession]: rule('negotiated', 0, 'session', handleEndSession, { since: 0x11 }),
  [requestCode.getCsr]: rule('negotiated', capability.csr, 'either', handleGetCsr, { since: 0x12 }),
  [requestCode.setCertificate]: rule('negotiated', capability.setCertificate, 'either', handleSetCertificate, { since: 0x12 }),
  [requestCode.chunkSend]: rule('chunks', chunk, 'either', 'chunks', { both: true, since: 0x12, inHandshake: true }),
  [requestCode.chunkGet]: rule('chunks', chunk, 'either', handleChunkGet, { both: true, since: 0x12, inHandshake: true }),
  [requestCode.getKeyPairInfo]: rule('negotiated', keyPairInfo, 'either', handleGetKeyPairInfo, { since: 0x13 }),
  [requestCode.setKeyPairInfo]: rule('negotiated', setKeyPairInfo, 'either', handleSetKeyPairInfo, { since: 0x13 }),
  [requestCode.getEndpointInfo]: rule('negotiated', endpointInfo, 'either', handleGetEndpointInfo, { since: 0x13 }),
  [requestCode.getMeasurementExtensionLog]: rule('negotiated', measurementExtensionLog, 'either', handleGetMeasurementLog, { since: 0x13 }),
  [requestCode.getSupportedEventTypes]: rule('negotiated', event, 'session', handleGetSupportedEventTypes, { since: 0x13 }),
  [requestCode.subscribeEventTypes]: rule('negotiated', event, 'session', handleSubscribeEventTypes, { since: 0x13 }),
  [requestCode.sendEvent]: rule('negotiated', 0, 'session', handleSendEvent, { since: 0x13 }),
  [requestCode.vendorDefined]: rule('negotiated', 0, 'either', handleVendorDefined),
};
