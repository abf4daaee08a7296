import { concat } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { createDevAuthHost, type DevAuthHost } from '../../src/production/devauth/host.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../src/production/devauth/vendor.ts';
import { messageType } from '../../src/spdm/constants.ts';
import type { Link } from '../../src/spdm/requester/delivery.ts';
import type { SpdmSession } from '../../src/spdm/session.ts';
import { decodeTyped, encodeTyped } from '../../src/spdm/transport/mqtt.ts';
import type { MctpClient } from './mctpLink.ts';

/** The host's ends on a serial link: DevAuth in the open, SPDM, and DevAuth inside an SPDM session. */

/** @param maxBodyBytes  as the device reported in HELLO; longer requests are refused here */
export function openDevAuth(client: MctpClient, maxBodyBytes?: number): DevAuthHost {
  const send = async (message: Uint8Array): Promise<Uint8Array> => {
    const answer = await client.request(encodeVendorMessage(message, { integrityCheck: true }));
    return decodeVendorMessage(answer).message;
  };
  return createDevAuthHost({ send, ...(maxBodyBytes !== undefined && { maxBodyBytes }) });
}

/** For `runAttestation` and `runSessionSetup`. */
export const spdmOver =
  (client: MctpClient): Link =>
  async wire =>
    decodeTyped(await client.request(encodeTyped(wire)));

/** DevAuth as application data of an established session (R54–R56). Every answer must be a record of that session.
 *  Requests throw SPDM_RECORD when a record was changed, lost or repeated: the session is over then (T10). */
export function openSealedDevAuth(client: MctpClient, session: SpdmSession, maxBodyBytes?: number): DevAuthHost {
  const send = async (message: Uint8Array): Promise<Uint8Array> => {
    const record = session.seal(encodeVendorMessage(message, { integrityCheck: false }));
    const answer = await client.request(concat(Uint8Array.of(messageType.secured), record));
    if (answer[0] !== messageType.secured) {
      session.end();
      throw new NusecError('SPDM_RECORD', 'the device has ended the session');
    }
    return decodeVendorMessage(session.open(answer.slice(1))).message;
  };
  return createDevAuthHost({ send, ...(maxBodyBytes !== undefined && { maxBodyBytes }) });
}
