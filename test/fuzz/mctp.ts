import { NusecError } from '../../src/errors.ts';
import { createMctpAssembler, maxMctpMessageBytes } from '../../src/spdm/transport/mctp.ts';
import { createSerialDecoder } from '../../src/spdm/transport/serial.ts';

/** The input is a stream of bytes on a serial line, and the same bytes as packets of 9: assembled or refused, never anything else. */

const packetBytes = 9;

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    const packets = createSerialDecoder().push(input);
    const cut = Array.from({ length: Math.ceil(input.length / packetBytes) }, (_, i) =>
      input.slice(i * packetBytes, (i + 1) * packetBytes),
    );
    for (const stream of [packets, cut]) assemble(stream);
  },
};

function assemble(packets: readonly Uint8Array[]): void {
  const assembler = createMctpAssembler(8);
  for (const packet of packets) {
    try {
      const message = assembler.push(packet);
      if (message && message.body.length > maxMctpMessageBytes) throw new Error('message beyond the limit');
    } catch (error) {
      if (!(error instanceof NusecError && error.code === 'MCTP_MALFORMED')) throw error;
    }
  }
}
