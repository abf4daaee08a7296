import { concat } from '../../bytes.ts';
import { capability, nonceBytes, responseCode, spdmError } from '../constants.ts';
import {
  decodeDeviceClasses,
  decodeEndpointInfo,
  decodeGetEndpointInfo,
  deviceClassIdentifier,
  encodeGetEndpointInfo,
} from '../messages/endpointInfo.ts';
import { signingInput, verifySignature } from '../signature.ts';
import { bothHave, type Exchange, type LiveSession, negotiated, Refusal } from './state.ts';

/** What a requester says of its kind, asked for in a session by an encapsulated GET_ENDPOINT_INFO (DSP0274 §10.22, since 1.3). */

/** Whether anybody wants to know it, and the requester can say it. */
export const endpointAsked = (exchange: Exchange): boolean =>
  exchange.settings.onPeerEndpoint !== undefined &&
  exchange.state.version >= 0x13 &&
  bothHave(exchange, capability.encapsulated) &&
  (exchange.state.requester!.flags & capability.endpointInfo) !== 0;

/** Signed by the key that the requester has proved itself with, if it has and can. */
export function endpointQuestion({ settings, state }: Exchange, { peer }: LiveSession): Uint8Array {
  const canSign = (state.requester!.flags & capability.endpointInfo) === capability.endpointInfoSigned;
  const signed = peer && canSign ? { slot: settings.mutualAuthentication!.slot, nonce: settings.randomBytes(nonceBytes) } : undefined;
  return encodeGetEndpointInfo(state.version, { subCode: deviceClassIdentifier, ...(signed && { signed }) });
}

/** A requester that answers with ERROR says nothing of itself.
 *  @throws Refusal InvalidResponseCode, NusecError SPDM_MALFORMED, SPDM_SIGNATURE */
export async function acceptEndpoint(
  { settings, state }: Exchange,
  { peer }: LiveSession,
  request: Uint8Array,
  response: Uint8Array,
): Promise<void> {
  if (response[1] === responseCode.error) return;
  const { signed } = decodeGetEndpointInfo(request);
  const { hash, requesterSignature } = negotiated(state);
  const answer = decodeEndpointInfo(response, signed ? (requesterSignature?.signatureBytes ?? 0) : 0);
  if (signed) {
    if (!peer || !requesterSignature || answer.signed?.slot !== signed.slot) throw new Refusal(spdmError.invalidResponseCode);
    const unsigned = response.subarray(0, response.length - answer.signature.length);
    const input = signingInput(state.version, hash, 'requester-endpoint_info signing', concat(...state.transcript.vca, request, unsigned));
    await verifySignature({ hash, signature: requesterSignature }, peer.leafKey, input, answer.signature, 'ENDPOINT_INFO');
  }
  settings.onPeerEndpoint?.(decodeDeviceClasses(answer.info), signed !== undefined);
}
