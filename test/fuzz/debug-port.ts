import { createServer } from 'node:net';
import { createBoard } from '../../gateway-device/chip/board.ts';
import { openChip } from '../../gateway-device/chip/chip.ts';
import { answerDebug } from '../../gateway-device/chip/debugInterface.ts';
import { steadyPower } from '../../gateway-device/chip/flash.ts';
import { connectTcp } from '../../gateway-device/link/byteLink.ts';
import { connectOpenOcd } from '../../gateway-device/link/openOcdPort.ts';
import { connectDebugPort, serveDebugPort } from '../../gateway-device/link/virtualDebugPort.ts';
import { NusecError } from '../../src/errors.ts';
import { listenOn } from '../../src/listening.ts';
import { layout } from '../gateway-device/chip/bootFixture.ts';
import { memoryStorage, memoryVault } from '../gateway-device/chip/memory.ts';

/** The input is what a stranger sends to the debug port of a chip, and what the Tcl port of an OpenOCD answers to every command. The chip goes on to
 *  answer others; our side of OpenOCD gives a value or an error with a code. */

const storage = { otp: memoryStorage(), flash: memoryStorage(), registers: memoryStorage(), keys: memoryVault() };
const board = createBoard({
  chip: openChip({ uid: new Uint8Array(16).fill(0x33), productId: 1 }, storage, steadyPower, layout),
  stages: {},
});
const faults: unknown[] = [];
const chipPort = await serveDebugPort(0, async request => {
  try {
    return await answerDebug(board, request);
  } catch (error) {
    if (!(error instanceof NusecError)) faults.push(error);
    throw error;
  }
});
let reply: Uint8Array = new Uint8Array();
const openOcd = createServer(socket => {
  socket.on('data', () => socket.write(Buffer.concat([reply, Uint8Array.of(0x1a)]))).on('error', () => socket.destroy());
});
const openOcdPort = await listenOn(openOcd, { port: 0, host: '127.0.0.1' });

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    const stranger = await connectTcp('127.0.0.1', chipPort.port);
    await stranger.write(input).catch(() => undefined);
    const other = await connectDebugPort('127.0.0.1', chipPort.port);
    const { stage } = await other.status();
    await Promise.all([other.close(), stranger.close()]);
    if (stage !== 'none' || faults.length > 0) throw new Error('fault', { cause: faults[0] });
    reply = input;
    await useOpenOcd();
  },
};

async function useOpenOcd(): Promise<void> {
  try {
    const port = await connectOpenOcd('127.0.0.1', openOcdPort);
    try {
      await port.status();
      const data = await port.readMemory(0x2000_0000, 7);
      if (data.length !== 7) throw new Error('memory of another length');
    } finally {
      await port.close();
    }
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
  }
}
