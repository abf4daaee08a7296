import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openByteLink } from '../../gateway-device/link/byteLink.ts';
import { openDevAuth } from '../../gateway-device/link/devAuthClient.ts';
import { createMctpClient } from '../../gateway-device/link/mctpLink.ts';
import { type BoardOptions, type CortexBoard, startCortexBoard } from '../../scripts/cortexM/board.ts';
import { buildFirmware, type Firmware, whyNoBoard } from '../../scripts/cortexM/firmware.ts';
import type { Own } from '../../src/closing.ts';

/** Boards in QEMU for tests (docs/cortex-m.md). */

/** Why tests with a board are skipped here; undefined when they run. It is printed, because nobody reads what did not run. */
export const skippedBecause: string | undefined = whyNoBoard();
if (skippedBecause !== undefined) console.log(`no Cortex-M board in QEMU: ${skippedBecause}`);

const firmware: Firmware = skippedBecause === undefined ? buildFirmware() : { bootRom: '', devAuth: '' };
const sramAddress = 0x3800_0000;

export const boardFolder = (own: Own): string => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-board-'));
  own('folder', { close: () => rmSync(folder, { recursive: true, force: true }) });
  return folder;
};

export type TestBoardOptions = Pick<BoardOptions, 'folder'> & Partial<BoardOptions>;

export async function startBoard(own: Own, options: TestBoardOptions): Promise<CortexBoard> {
  const uid = Uint8Array.from({ length: 16 }, (_, index) => 0xc0 + index);
  return own('board', await startCortexBoard({ uid, productId: 0x2354, firmware, ...options }));
}

/** Loads the DevAuth code past the debug port, and starts it. */
export async function startDevAuthOn({ stub }: CortexBoard): Promise<void> {
  const code = new Uint8Array(readFileSync(firmware.devAuth));
  const view = new DataView(code.buffer);
  const [stackPointer, programCounter, status] = [13, 15, 25];
  await stub.halt();
  await stub.write(sramAddress, code);
  await stub.writeRegister(stackPointer, view.getUint32(0, true));
  await stub.writeRegister(programCounter, view.getUint32(4, true) & ~1);
  await stub.writeRegister(status, 0x0100_0000);
  await stub.resume();
}

export async function openSerialLink(own: Own, { serial }: CortexBoard) {
  const link = await openByteLink(serial);
  const client = own('serial link', createMctpClient(link));
  return { client, host: openDevAuth(client) };
}
