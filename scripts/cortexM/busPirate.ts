import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { concat, utf8 } from '../../src/bytes.ts';
import type { CoreDebug } from './coreDebug.ts';
import { createTap, type Tap } from './jtagDap.ts';

/** A JTAG adapter of the kind that OpenOCD drives over a serial device: a Bus Pirate in its OpenOCD mode. It shifts thousands of bits for one
 *  request; `remote_bitbang` would answer each bit.
 *
 *      00 → "BBIO1"    06 → "OCD1"    05 n(2) then for each 8 bits TDI, TMS → 05 n(2) and TDO */

const hello = { bitbang: utf8('BBIO1'), openOcd: utf8('OCD1') } as const;
const command = { reset: 0x00, portMode: 0x01, feature: 0x02, shift: 0x05, enter: 0x06 } as const;
/** Bytes of the commands that have no answer. */
const silentBytes: Readonly<Record<number, number>> = { [command.portMode]: 2, [command.feature]: 3 };
const shiftHeadBytes = 3;

export type Adapter = { close(): void };

/** @param path Unix socket that takes the place of the adapter's serial line */
export async function serveBusPirate(path: string, core: CoreDebug): Promise<Adapter> {
  const server = createServer(socket => attach(socket, createTap(core))).listen(path);
  await once(server, 'listening');
  return { close: () => void server.close() };
}

function attach(socket: Socket, tap: Tap): void {
  let pending: Uint8Array = new Uint8Array();
  let turn: Promise<void> = Promise.resolve();
  const take = async (chunk: Uint8Array): Promise<void> => {
    pending = concat(pending, chunk);
    for (let length = requestLength(pending); length > 0; length = requestLength(pending)) {
      const answer = await answerTo(pending.subarray(0, length), tap);
      pending = pending.slice(length);
      if (answer) socket.write(answer);
    }
  };
  socket.on('data', chunk => {
    turn = turn.then(() => take(new Uint8Array(chunk))).catch(() => void socket.destroy());
  });
  socket.on('error', () => socket.destroy());
}

/** @returns 0 while the first request is not complete */
function requestLength(bytes: Uint8Array): number {
  const [code] = bytes;
  if (code === undefined) return 0;
  if (code === command.shift && bytes.length < shiftHeadBytes) return 0;
  const length = code === command.shift ? shiftHeadBytes + 2 * shiftBytes(bytes) : (silentBytes[code] ?? 1);
  return bytes.length < length ? 0 : length;
}

const bitCount = (request: Uint8Array): number => ((request[1] ?? 0) << 8) | (request[2] ?? 0);
const shiftBytes = (request: Uint8Array): number => Math.ceil(bitCount(request) / 8);

async function answerTo(request: Uint8Array, tap: Tap): Promise<Uint8Array | undefined> {
  const [code] = request;
  if (code === command.reset) return hello.bitbang;
  if (code === command.enter) return hello.openOcd;
  if (code !== command.shift) return undefined;
  const answer = new Uint8Array(shiftHeadBytes + shiftBytes(request));
  answer.set(request.subarray(0, shiftHeadBytes));
  for (let index = 0; index < bitCount(request); index += 1) {
    const [place, bit] = [index >> 3, index & 7];
    const pair = shiftHeadBytes + 2 * place;
    answer[shiftHeadBytes + place]! |= tap.tdo() << bit;
    const work = tap.clock(((request[pair + 1] ?? 0) >> bit) & 1, ((request[pair] ?? 0) >> bit) & 1);
    if (work) await work;
  }
  return answer;
}
