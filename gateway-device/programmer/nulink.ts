import { opening } from '../../src/closing.ts';
import { holdFolder } from '../../src/fileLock.ts';
import type { BoardEvent } from '../chip/board.ts';
import { type BoardPorts, readyLine, serveBoard } from '../chip/boardPorts.ts';
import { type ChipIdentity, openChipFolder } from '../chip/chip.ts';
import { createProgrammerBoard } from './board.ts';

/** Tools that may be connected at the same time. */
const maxTools = 32;

export type NulinkOptions = {
  /** Chip and memory of the programmer; created when missing. */
  readonly folder: string;
  /** Of a new board; an existing one keeps its own. */
  readonly identity?: ChipIdentity;
  readonly ports: Omit<BoardPorts, 'serialPeers'>;
  readonly tell: (event: BoardEvent) => void;
};

/** Opens a virtual NuLink3 on its ports.
 *  @throws NusecError BAD_REQUEST (no board there and no UID given), FOLDER_REFUSED, FOLDER_IN_USE, STORE_DAMAGED, PORT_TAKEN, LINK_FAILED */
export const startNulink = ({ folder, identity, ports, tell }: NulinkOptions) =>
  opening(async own => {
    own('folder', holdFolder(folder));
    const chip = own('chip', openChipFolder(folder, identity));
    const { board } = createProgrammerBoard(chip, folder, tell);
    return { ready: readyLine(board, own('ports', await serveBoard(board, { ...ports, serialPeers: maxTools }))) };
  });
