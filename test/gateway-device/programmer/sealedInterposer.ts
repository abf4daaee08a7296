import { connectTcp, listenTcp } from '../../../gateway-device/link/byteLink.ts';
import { deviceEid, hostEid } from '../../../gateway-device/link/mctpLink.ts';
import { concat } from '../../../src/bytes.ts';
import { messageType } from '../../../src/spdm/constants.ts';
import { createMctpAssembler, encodeMctp, type MctpMessage } from '../../../src/spdm/transport/mctp.ts';
import { createSerialDecoder, encodeSerialFrame, maxSerialUnitBytes } from '../../../src/spdm/transport/serial.ts';

/** Somebody between programmer and chip who reads whole messages, changes them and writes correct frames again (T10): the check sequences
 *  of the link do not see it. */

export type Direction = 'up' | 'down';
/** @param number  of this secured message among those of its direction, from 0; a repeat has the number of the first */
export type Attack = (message: Uint8Array, direction: Direction, number: number) => readonly Uint8Array[];

export const passing: Attack = message => [message];

export async function interpose(port: number, attack: Attack) {
  const seen: Uint8Array[] = [];
  const server = await listenTcp(0, async host => {
    const early: Uint8Array[] = [];
    let toDevice = (bytes: Uint8Array): void => void early.push(bytes);
    const up = relay(deviceEid, 'up', attack, bytes => toDevice(bytes));
    host.onData(bytes => {
      seen.push(bytes);
      up(bytes);
    });
    const device = await connectTcp('127.0.0.1', port);
    toDevice = bytes => void device.write(bytes).catch(() => undefined);
    for (const bytes of early) toDevice(bytes);
    const down = relay(hostEid, 'down', attack, bytes => void host.write(bytes).catch(() => undefined));
    device.onData(bytes => {
      seen.push(bytes);
      down(bytes);
    });
    host.onClose(() => void device.close());
  });
  return { port: server.port, close: server.close, wire: () => concat(...seen) };
}

function relay(eid: number, direction: Direction, attack: Attack, write: (bytes: Uint8Array) => void): (bytes: Uint8Array) => void {
  const decoder = createSerialDecoder();
  const assembler = createMctpAssembler(eid);
  const numbers = new Map<string, number>();
  const forward = (message: MctpMessage): void => {
    const isSecured = message.body[0] === messageType.secured;
    const name = Buffer.from(message.body).toString('hex');
    if (isSecured && !numbers.has(name)) numbers.set(name, numbers.size);
    const bodies = isSecured ? attack(message.body, direction, numbers.get(name) ?? 0) : [message.body];
    for (const body of bodies) write(concat(...encodeMctp({ ...message, body }, maxSerialUnitBytes).map(encodeSerialFrame)));
  };
  return bytes => {
    for (const packet of decoder.push(bytes)) {
      const message = assembler.push(packet);
      if (message) forward(message);
    }
  };
}
