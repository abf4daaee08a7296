import { type ByteLink, connectTcp, listenTcp } from '../../../gateway-device/link/byteLink.ts';
import { createMctpAssembler, encodeMctp, type MctpMessage } from '../../../src/spdm/transport/mctp.ts';
import { createSerialDecoder, encodeSerialFrame, maxSerialUnitBytes } from '../../../src/spdm/transport/serial.ts';

/** An attacker on the wire of the target: reads every message, and sends on what it likes, with frames, checksums and tags in order. */

export type Direction = 'down' | 'up';
/** @returns what goes on instead: one message, several, or none */
export type Alter = (body: Uint8Array, direction: Direction) => readonly Uint8Array[];

const endpointIds = { down: 9, up: 8 } as const;

/** @param serial address of the target @returns the address to be used instead, and everything that passed */
export async function interpose(serial: string, alter: Alter) {
  const [host = '', port = ''] = serial.split(':');
  const seen: Uint8Array[] = [];
  const server = await listenTcp(0, async near => {
    const far = await connectTcp(host, Number(port));
    pass(near, far, 'down');
    pass(far, near, 'up');
    near.onClose(() => void far.close());
    far.onClose(() => void near.close());
  });
  const pass = (from: ByteLink, to: ByteLink, direction: Direction): void => {
    const decoder = createSerialDecoder();
    const assembler = createMctpAssembler(endpointIds[direction]);
    from.onData(bytes => {
      for (const packet of decoder.push(bytes)) {
        const message = assembler.push(packet);
        if (!message) continue;
        seen.push(message.body);
        for (const body of alter(message.body, direction)) void to.write(framed({ ...message, body })).catch(() => undefined);
      }
    });
  };
  return { address: `127.0.0.1:${server.port}`, seen, close: () => server.close() };
}

const framed = (message: MctpMessage): Uint8Array =>
  new Uint8Array(Buffer.concat(encodeMctp(message, maxSerialUnitBytes).map(encodeSerialFrame)));

/** The chip is asked what it does not know, and ERROR Busy takes the place of its answer: once for each of these requests of SPDM in the clear.
 *  @param left those to come */
export function busyOnce(left: Set<number>): Alter {
  let answering: number | undefined;
  return (body, direction) => {
    const [type, version = 0, code = 0] = body;
    if (direction === 'down' && type === 0x05 && left.delete(code)) {
      answering = version;
      return [Uint8Array.of(0x05, version, 0xfd, 0, 0)];
    }
    if (direction === 'down' || answering === undefined) return [body];
    const busy = Uint8Array.of(0x05, answering, 0x7f, 0x03, 0);
    answering = undefined;
    return [busy];
  };
}
