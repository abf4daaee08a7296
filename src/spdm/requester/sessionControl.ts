import { responseCode } from '../constants.ts';
import { decodeHeadOnly, encodeEndSession, encodeHeartbeat } from '../messages/sessionControl.ts';
import type { SpdmSession } from '../session.ts';
import { checkHead } from './connection.ts';

/** HEARTBEAT and END_SESSION as a requester: a record to send, and the check of the record that answers it. */

export type ControlRequest = 'heartbeat' | 'endSession';

const table = {
  heartbeat: { encode: encodeHeartbeat, answer: responseCode.heartbeatAck },
  endSession: { encode: encodeEndSession, answer: responseCode.endSessionAck },
} as const;

export function controlRecord(session: SpdmSession, request: ControlRequest): Uint8Array {
  return session.sealSpdm(table[request].encode(session.version));
}

/** END_SESSION_ACK ends the session here too. @throws SPDM_RECORD, SPDM_UNEXPECTED, SPDM_MALFORMED */
export function acceptControl(session: SpdmSession, request: ControlRequest, record: Uint8Array): void {
  const response = session.openSpdm(record);
  checkHead(session, response, table[request].answer);
  decodeHeadOnly(response, table[request].answer, request);
  if (request === 'endSession') session.end();
}
