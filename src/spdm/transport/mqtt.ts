import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { messageType, type Wire } from '../constants.ts';

/** SPDM over MQTT, and over any other transport that keeps messages apart: type byte 05 (clear) or 06 (secured) ‖ message. */

export function encodeTyped({ kind, message }: Wire): Uint8Array {
  return concat(Uint8Array.of(kind === 'clear' ? messageType.spdm : messageType.secured), message);
}

/** @throws SPDM_MALFORMED for another type byte or nothing after it */
export function decodeTyped(payload: Uint8Array): Wire {
  const [type] = payload;
  if (payload.length < 2 || (type !== messageType.spdm && type !== messageType.secured))
    throw new NusecError('SPDM_MALFORMED', 'not an SPDM payload');
  return { kind: type === messageType.spdm ? 'clear' : 'secured', message: payload.slice(1) };
}
