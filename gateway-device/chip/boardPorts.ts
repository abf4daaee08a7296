import { toHex } from '../../src/bytes.ts';
import type { ByteLink } from '../link/byteLink.ts';
import { listenTcp, openSerial } from '../link/byteLink.ts';
import { serveMctp } from '../link/mctpLink.ts';
import { serveDebugPort } from '../link/virtualDebugPort.ts';
import type { Board } from './board.ts';
import { answerDebug } from './debugInterface.ts';

/** The wires that leave a board: its UART (TCP or a serial device) and its debug port. */

export type BoardPorts = {
  /** Loopback TCP; 0 = any free port. */
  readonly serialPort?: number;
  readonly debugPort?: number;
  /** Path of a UART or pseudo-terminal to serve too. */
  readonly serialDevice?: string;
};

export type ServedBoard = { readonly serialPort: number; readonly debugPort: number; readonly close: () => Promise<void> };

/** Opens the ports and powers the board on. @throws NusecError LINK_FAILED */
export async function serveBoard(board: Board, ports: BoardPorts = {}): Promise<ServedBoard> {
  const serve = (link: ByteLink): void => serveMctp(link, board.receive);
  await board.reset();
  const serial = await listenTcp(ports.serialPort ?? 0, serve);
  const debug = await serveDebugPort(ports.debugPort ?? 0, request => answerDebug(board, request));
  const uart = ports.serialDevice === undefined ? undefined : await openSerial(ports.serialDevice);
  if (uart) serve(uart);
  return {
    serialPort: serial.port,
    debugPort: debug.port,
    close: async () => {
      await Promise.all([serial.close(), debug.close(), uart?.close()]);
      await board.stop();
      board.chip.close();
    },
  };
}

/** The line that says where the board can be reached. */
export const readyLine = (board: Board, served: ServedBoard) => ({
  ready: true,
  uid: toHex(board.chip.uid),
  serialPort: served.serialPort,
  debugPort: served.debugPort,
  stage: board.stage(),
});
