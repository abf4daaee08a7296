import { opening } from '../../src/closing.ts';
import { holdFolder } from '../../src/fileLock.ts';
import type { Decryption } from '../../src/ota/decrypt.ts';
import { type Seconds, secondsOf } from '../../src/times.ts';
import { tokenSource } from '../chip/attestationToken.ts';
import { bl2Stage } from '../chip/bl2Stage.ts';
import { type BoardEvent, createBoard, type StageContext } from '../chip/board.ts';
import { type BoardPorts, readyLine, serveBoard } from '../chip/boardPorts.ts';
import { type ChipIdentity, hasChip, openChipFolder } from '../chip/chip.ts';
import { devauthStage } from '../chip/devauthStage.ts';
import { type OnlineOptions, onlineDevice } from './app/online.ts';
import { appStage } from './appStage.ts';

/** A virtual target MCU as a process: the chip in a folder, its stages, its wires. */

export type McuOptions = {
  readonly folder: string;
  /** What the chip is to be; refused when the one in the folder is another. */
  readonly identity?: ChipIdentity;
  /** For a folder without a chip when no identity is given. */
  readonly newIdentity: () => ChipIdentity;
  readonly ports?: BoardPorts;
  /** Where the application connects to; without it the device is reached by its UART only. */
  readonly online?: Omit<OnlineOptions, 'nowSeconds'>;
  /** What the application proves itself with; messages of SPDM when not given. */
  readonly evidence?: 'psa-token' | undefined;
  /** Key that its bootloader is built with, for images that are encrypted for the whole line; default: the chip's own. */
  readonly decryption?: Decryption | undefined;
  readonly tell: (event: BoardEvent) => void;
  /** What its programs speak in SPDM; as ours when not given. */
  readonly spdm?: StageContext['spdm'];
};

/** @returns the line that says where it can be reached, and how to power it off
 *  @throws NusecError BAD_REQUEST, FOLDER_REFUSED, FOLDER_IN_USE, PORT_TAKEN, LINK_FAILED, KEYSTORE_DAMAGED */
export const startMcu = ({ folder, identity, newIdentity, ports, online, decryption, evidence, tell, spdm }: McuOptions) =>
  opening(async own => {
    own('folder', holdFolder(folder));
    const chip = own('chip', openChipFolder(folder, identity ?? (hasChip(folder) ? undefined : newIdentity()), undefined, decryption));
    const nowSeconds = (): Seconds => secondsOf(Date.now());
    const tokens = evidence === 'psa-token' ? { tokenFor: tokenSource } : {};
    const app = appStage(online && onlineDevice({ ...online, ...tokens, nowSeconds }), tokens.tokenFor);
    const board = createBoard({ chip, stages: { devauth: devauthStage, bl2: bl2Stage, app }, tell, spdm });
    return { ready: readyLine(board, own('ports', await serveBoard(board, ports))) };
  });
