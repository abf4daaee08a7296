import { capability, requestCode } from '../constants.ts';
import { handleGetCapabilities, handleGetVersion, handleNegotiateAlgorithms } from './connection.ts';
import { handleChallenge, handleGetCertificate, handleGetDigests } from './identity.ts';
import { handleGetMeasurements } from './measurements.ts';
import { handleEndSession, handleFinish, handleHeartbeat, handleKeyExchange, handleKeyUpdate, refusePskFinish } from './session.ts';
import type { Handler, Phase } from './state.ts';
import { handleVendorDefined } from './vendor-defined.ts';

/** Which request is admitted when: the table behind the parameter phase (DSP0274 §10, state of the connection; §10.16, "allowed in session"). */

export type Rule = {
  readonly phase: Phase | 'any';
  /** Flags the responder must have; 0 = none. */
  readonly capability: number;
  readonly place: 'clear' | 'session' | 'either';
  /** Allowed inside a session whose handshake is not finished. */
  readonly inHandshake: boolean;
  readonly handler: Handler;
};

const rule = (phase: Rule['phase'], needed: number, place: Rule['place'], handler: Handler, inHandshake = false): Rule => ({
  phase,
  capability: needed,
  place,
  handler,
  inHandshake,
});

export const rules: Readonly<Record<number, Rule>> = {
  [requestCode.getVersion]: rule('any', 0, 'clear', handleGetVersion),
  [requestCode.getCapabilities]: rule('version', 0, 'clear', handleGetCapabilities),
  [requestCode.negotiateAlgorithms]: rule('capabilities', 0, 'clear', handleNegotiateAlgorithms),
  [requestCode.getDigests]: rule('negotiated', capability.certificate, 'either', handleGetDigests),
  [requestCode.getCertificate]: rule('negotiated', capability.certificate, 'either', handleGetCertificate),
  [requestCode.challenge]: rule('negotiated', capability.challenge, 'clear', handleChallenge),
  [requestCode.getMeasurements]: rule('negotiated', 0, 'either', handleGetMeasurements),
  [requestCode.keyExchange]: rule('negotiated', capability.keyExchange, 'clear', handleKeyExchange),
  [requestCode.finish]: rule('negotiated', capability.keyExchange, 'either', handleFinish, true),
  [requestCode.pskFinish]: rule('negotiated', 0, 'either', refusePskFinish, true),
  [requestCode.heartbeat]: rule('negotiated', capability.heartbeat, 'session', handleHeartbeat),
  [requestCode.keyUpdate]: rule('negotiated', capability.keyUpdate, 'session', handleKeyUpdate),
  [requestCode.endSession]: rule('negotiated', 0, 'session', handleEndSession),
  [requestCode.vendorDefined]: rule('negotiated', 0, 'either', handleVendorDefined),
};
