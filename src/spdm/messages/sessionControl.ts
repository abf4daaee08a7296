import { encodeMessage, openMessage } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** HEARTBEAT (DSP0274 §10.20) and END_SESSION (§10.22) with their acknowledgements: heads without a body. */

export const encodeHeartbeat = (version: number): Uint8Array => encodeMessage(version, requestCode.heartbeat, 0, 0);
export const encodeHeartbeatAck = (version: number): Uint8Array => encodeMessage(version, responseCode.heartbeatAck, 0, 0);
/** Negotiated state is never preserved (param1 bit 0 is 0). */
export const encodeEndSession = (version: number): Uint8Array => encodeMessage(version, requestCode.endSession, 0, 0);
export const encodeEndSessionAck = (version: number): Uint8Array => encodeMessage(version, responseCode.endSessionAck, 0, 0);

/** @throws SPDM_MALFORMED */
export function decodeHeadOnly(bytes: Uint8Array, code: number, what: string): void {
  openMessage(bytes, code, what).body.end();
}
