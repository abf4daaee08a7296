import { toHex } from '../../src/bytes.ts';
import { opening } from '../../src/closing.ts';
import type { ByteLink } from '../link/byteLink.ts';
import { listenTcp, openSerial } from '../link/byteLink.ts';
import type { DebugReply, DebugRequest } from '../link/debugPort.ts';
import { serveMctp } from '../link/mctpLink.ts';
import { serveDebugPort } from '../link/virtualDebugPort.ts';
import type { Board } from './board.ts';
import { answerDebug } from './debugInterface.ts';

/** The wires that leave a board: its UART (TCP or a serial device) and its debug port. */

export type BoardPorts = {
  /** Loopback TCP; 0 = any free port. */
  readonly serialPort?: number;
  /** Peers of the serial port at the same time. Default: 1, as a UART has. */
  readonly serialPeers?: number;
  readonly debugPort?: number;
  /** Path of a UART or pseudo-terminal to serve too. */
  readonly serialDevice?: string;
};

export type ServedBoard = { readonly serialPort: number; readonly debugPort: number; readonly close: () => Promise<void> };

/** Powers the board on and opens its ports; `close` powers it off again. The chip stays open. @throws NusecError PORT_TAKEN, LINK_FAILED */
export const serveBoard = (board: Board, ports: BoardPorts = {}): Promise<ServedBoard> =>
  opening(async own => {
    const serve = (link: ByteLink): void => serveMctp(link, board.receive);
    own('board', { close: board.stop });
    await board.reset();
    const serial = own('serial port', await listenTcp(ports.serialPort ?? 0, serve, '--serial-port', ports.serialPeers));
    const answer = (request: DebugRequest): Promise<DebugReply> => answerDebug(board, request);
    const debug = own('debug port', await serveDebugPort(ports.debugPort ?? 0, answer, '--debug-port'));
    if (ports.serialDevice !== undefined) serve(own('serial device', await openSerial(ports.serialDevice)));
    return { serialPort: serial.port, debugPort: debug.port };
  });

/** The line that says where the board can be reached. */
export const readyLine = (board: Board, served: ServedBoard) => ({
  ready: true,
  uid: toHex(board.chip.uid),
  serialPort: served.serialPort,
  debugPort: served.debugPort,
  stage: board.stage(),
});
