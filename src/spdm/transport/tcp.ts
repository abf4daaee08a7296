import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { u16 } from '../codec.ts';
import { messageType, type Wire } from '../constants.ts';

/** SPDM over TCP (DSP0287): length u16 LE (of what follows it) | binding version 01 | type 05 or 06 | message. */

const bindingVersion = 0x01;
const headBytes = 4;
const maxTcpMessageBytes = 0xffff - 2;

/** @throws SPDM_MALFORMED when the message does not fit into the 16-bit length */
export function encodeTcp({ kind, message }: Wire): Uint8Array {
  if (message.length > maxTcpMessageBytes) throw new NusecError('SPDM_MALFORMED', 'message too long for the TCP binding');
  return concat(u16(message.length + 2), Uint8Array.of(bindingVersion, kind === 'clear' ? messageType.spdm : messageType.secured), message);
}

/** Reads one payload whose borders are known. The length may be the whole, or without itself: implementations differ.
 *  @throws SPDM_MALFORMED */
export function decodeTcp(payload: Uint8Array): Wire {
  const [low, high, version, type] = payload;
  if (payload.length <= headBytes || version !== bindingVersion) throw new NusecError('SPDM_MALFORMED', 'not a TCP binding payload');
  const length = low! | (high! << 8);
  if (length !== payload.length - 2 && length !== payload.length) throw new NusecError('SPDM_MALFORMED', 'TCP binding length');
  if (type !== messageType.spdm && type !== messageType.secured) throw new NusecError('SPDM_MALFORMED', 'TCP binding message type');
  return { kind: type === messageType.spdm ? 'clear' : 'secured', message: payload.slice(headBytes) };
}
