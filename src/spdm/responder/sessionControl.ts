import { requestCode } from '../constants.ts';
import { decodeKeyUpdate, encodeKeyUpdateAck, keyUpdateOperation } from '../messages/keyUpdate.ts';
import { decodeHeadOnly, encodeEndSessionAck, encodeHeartbeatAck } from '../messages/sessionControl.ts';
import { type Exchange, endSession, invalidRequest, type Reply } from './state.ts';

/** HEARTBEAT_ACK, KEY_UPDATE_ACK, END_SESSION_ACK (DSP0274 §10.20–10.22). */

export function handleHeartbeat({ state, request }: Exchange): Reply {
  decodeHeadOnly(request, requestCode.heartbeat, 'HEARTBEAT');
  return { message: encodeHeartbeatAck(state.version) };
}

/** New keys take effect immediately, so the acknowledgement of UpdateAllKeys already uses the new response key. */
export function handleKeyUpdate({ state, request, session }: Exchange): Reply {
  const update = decodeKeyUpdate(request);
  const proof = update.operation === keyUpdateOperation.verifyNewKey;
  if (!session || session.updating !== proof) throw invalidRequest();
  if (!proof) session.keys.rotate(update.operation === keyUpdateOperation.updateKey ? 'request' : 'both');
  session.updating = !proof;
  return { message: encodeKeyUpdateAck(state.version, update) };
}

export function handleEndSession({ state, request }: Exchange): Reply {
  decodeHeadOnly(request, requestCode.endSession, 'END_SESSION');
  return { message: encodeEndSessionAck(state.version), afterwards: () => endSession(state) };
}
