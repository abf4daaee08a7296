import type { Wire } from '../../spdm/constants.ts';
import { type EmulatorFrame, emulatorCommand, emulatorTransport } from '../../spdm/transport/emulator.ts';
import { decodeTyped, encodeTyped } from '../../spdm/transport/mqtt.ts';
import { decodeTcp, encodeTcp } from '../../spdm/transport/tcp.ts';
import type { TransportName } from './options.ts';

/** What the payload of a socket frame is in each transport: MCTP type byte and message, the TCP binding, or the bare message. */

export function wireOf(transport: TransportName, payload: Uint8Array): Wire {
  if (transport === 'none') return { kind: 'clear', message: payload };
  return transport === 'tcp' ? decodeTcp(payload) : decodeTyped(payload);
}

export function payloadOf(transport: TransportName, wire: Wire): Uint8Array {
  if (transport === 'none') return wire.message;
  return transport === 'tcp' ? encodeTcp(wire) : encodeTyped(wire);
}

export const normalFrame = (transport: TransportName, payload: Uint8Array): EmulatorFrame => ({
  command: emulatorCommand.normal,
  transport: emulatorTransport[transport],
  payload,
});
