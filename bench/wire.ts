import { type ByteLink, connectTcp } from '../gateway-device/link/byteLink.ts';
import { createMctpClient, type MctpClient } from '../gateway-device/link/mctpLink.ts';
import { pieceBytesFor, sendFirmware } from '../src/production/devauth/transfer.ts';
import {
  hello,
  installBl2,
  makeIdentity,
  makeImage,
  makeOem,
  newChip,
  openBench,
  openSession,
  startDevAuth,
  transferOf,
} from '../test/gateway-device/programmer/factory.ts';
import type { Report } from './parts/measure.ts';

/** The wire to a chip: how much of what a UART can carry (8N1: ten bits for a byte) is image, with frames, escapes, records and the answers that are
 *  waited for. Counted at a virtual chip, so it depends on no clock. */

const baudRate = 115_200;
const bitsPerByte = 10;
const goal = 0.9;
/** Around the data of a frame: flags, revision, count, MCTP header, check sequence. */
const frameBytes = 10;
const imageBytes = 192 * 1024;

export async function run(report: Report): Promise<void> {
  for (const [unitBytes, bound, boundWhat] of [
    [250, goal, 'the goal'],
    [64, 64 / (64 + frameBytes), 'frames without escapes'],
  ] as const) {
    const { sent, received, carried } = await transfer(unitBytes);
    const share = carried / (sent + received);
    const figure = `image in sealed frames of ${unitBytes} bytes`;
    report({ figure: `${figure}: share of 8N1`, value: share, unit: 'of all', bound, boundWhat });
    const seconds = ((sent + received) * bitsPerByte) / baudRate;
    report({
      figure: `${figure}: time at ${baudRate} baud`,
      value: seconds,
      unit: 's',
      bound: (carried * bitsPerByte) / baudRate,
      boundWhat: 'bare bytes',
    });
  }
}

/** One image, sealed in a session with a chip that is locked, as in production. */
async function transfer(unitBytes: number) {
  const [oem, bench] = [await makeOem(), await openBench(newChip())];
  const counts = { sent: 0, received: 0 };
  let client: MctpClient | undefined;
  try {
    await startDevAuth(bench.debug);
    await makeIdentity(bench.devAuth, oem);
    await installBl2(bench, oem);
    await bench.debug.reset();
    await bench.devAuth.request('lock', { debugState: 'locked', lifeCycle: 'deployed' });
    const { maxBodyBytes } = await hello(bench.devAuth);
    client = createMctpClient(counted(await connectTcp('127.0.0.1', bench.served.serialPort), counts), { unitBytes });
    const { sealed } = await openSession(client, oem);
    const payload = crypto.getRandomValues(new Uint8Array(65_536));
    const image = makeImage(oem.appKey, '1.2.3', 5, {
      payload: new Uint8Array(imageBytes).map((_, at) => payload[at % payload.length] ?? 0),
    });
    Object.assign(counts, { sent: 0, received: 0 });
    await sendFirmware(sealed, transferOf(image), pieceBytesFor(maxBodyBytes));
    return { ...counts, carried: image.bytes.length };
  } finally {
    await client?.close();
    await bench.close();
  }
}

const counted = (link: ByteLink, counts: { sent: number; received: number }): ByteLink => ({
  ...link,
  write: bytes => {
    counts.sent += bytes.length;
    return link.write(bytes);
  },
  onData: reader =>
    link.onData(bytes => {
      counts.received += bytes.length;
      reader(bytes);
    }),
});
