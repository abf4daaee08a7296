import { responseCode } from '../constants.ts';
import { decodeKeyUpdateAck, encodeKeyUpdate, type KeyUpdate, keyUpdateOperation } from '../messages/keyUpdate.ts';
import type { SpdmSession } from '../session.ts';
import { checkHead, unexpected } from './connection.ts';

/** KEY_UPDATE as a requester, in two steps that must follow each other: new keys (UpdateKey, UpdateAllKeys), then VerifyNewKey. */

/** Seals the request under the present key and takes the new ones. @returns the record to send */
export function keyUpdateRecord(session: SpdmSession, update: KeyUpdate): Uint8Array {
  const record = session.sealSpdm(encodeKeyUpdate(session.version, update));
  if (update.operation === keyUpdateOperation.updateKey) session.rotate('request');
  if (update.operation === keyUpdateOperation.updateAllKeys) session.rotate('both');
  return record;
}

/** @throws SPDM_RECORD, SPDM_UNEXPECTED (also for the acknowledgement of another update), SPDM_MALFORMED */
export function acceptKeyUpdate(session: SpdmSession, update: KeyUpdate, record: Uint8Array): void {
  const response = session.openSpdm(record);
  checkHead(session, response, responseCode.keyUpdateAck);
  const { operation, tag } = decodeKeyUpdateAck(response);
  if (operation !== update.operation || tag !== update.tag) throw unexpected('KEY_UPDATE_ACK is for another update');
}
