import { concat } from '../../bytes.ts';
import { devAuthMalformed } from './error.ts';

/** DevAuth message: the 8-byte header of SMP (Simple Management Protocol, version 0) and one CBOR map.
 *
 *      op u8 | flags u8 | length u16 BE | group u16 BE | sequence u8 | command u8 | map[length] */

const headerBytes = 8;

/** A group of our own in SMP's range for applications (64 and above). */
const devAuthGroup = 64;

/** Depth of the maps: the map itself and three levels inside. */
export const maxBodyDepth = 4;

/** Op codes of SMP. A response is its request + 1. */
export const ops = { read: 0, readResponse: 1, write: 2, writeResponse: 3 } as const;
export const responseTo = (op: number): number => op + 1;

export type DevAuthMessage = { readonly op: number; readonly sequence: number; readonly command: number; readonly body: Uint8Array };

/** @param group another group of ours that shares the header */
export function encodeMessage({ op, sequence, command, body }: DevAuthMessage, group = devAuthGroup): Uint8Array {
  const head = new Uint8Array(headerBytes);
  const view = new DataView(head.buffer);
  view.setUint8(0, op);
  view.setUint16(2, body.length);
  view.setUint16(4, group);
  view.setUint8(6, sequence);
  view.setUint8(7, command);
  return concat(head, body);
}

/** @throws NusecError DEVAUTH_MALFORMED for another group, an unknown op, flags, or a length that is not that of the body */
export function decodeMessage(bytes: Uint8Array, expectedGroup = devAuthGroup): DevAuthMessage {
  if (bytes.length < headerBytes) throw devAuthMalformed('no header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [op, flags, length, group] = [view.getUint8(0), view.getUint8(1), view.getUint16(2), view.getUint16(4)];
  if (group !== expectedGroup) throw devAuthMalformed('another group');
  if (op > ops.writeResponse || flags !== 0) throw devAuthMalformed('unknown op or flags');
  if (length !== bytes.length - headerBytes) throw devAuthMalformed('length differs from the body');
  return { op, sequence: view.getUint8(6), command: view.getUint8(7), body: bytes.slice(headerBytes) };
}
