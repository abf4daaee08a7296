import { bl2Stage } from '../chip/bl2Stage.ts';
import { type Board, type BoardEvent, createBoard } from '../chip/board.ts';
import type { Chip } from '../chip/chip.ts';
import { devauthStage } from '../chip/devauthStage.ts';
import { type Core, openCore } from './core.ts';
import { programmerStage } from './stage.ts';

/** The virtual NuLink3: the chip of every MCU with the programmer's firmware on it. Blank it takes DevAuth over the debug port; with signed
 *  firmware it waits in BL2 for the lock; locked it is a programmer and nothing opens it again (R5–R26, R107).
 *  @param folder data folder, shared with the chip */
export function createProgrammerBoard(
  chip: Chip,
  folder: string,
  tell: (event: BoardEvent) => void = () => undefined,
): { readonly board: Board; readonly core: Core } {
  const core = openCore(chip, folder, tell);
  const board = createBoard({
    chip,
    stages: { devauth: devauthStage, bl2: bl2Stage, programmer: programmerStage(core) },
    select: boot => (boot.stage === 'dead' ? 'none' : chip.debugState() === 'locked' ? 'programmer' : 'bl2'),
    tell,
  });
  return { board, core };
}
