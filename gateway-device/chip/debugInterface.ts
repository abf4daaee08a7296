import { NusecError } from '../../src/errors.ts';
import { type DebugReply, type DebugRequest, encodeIdentity, encodeStatus, memoryMap } from '../link/debugPort.ts';
import type { Board } from './board.ts';
import type { Chip } from './chip.ts';
import { erasedByte, PowerCut } from './flash.ts';
import { configName } from './hardwareState.ts';

/** The debug interface (SWD) of a virtual chip: memory access and control until the chip is locked, then only connect and status (T29). */
export async function answerDebug(board: Board, request: DebugRequest): Promise<DebugReply> {
  const { chip } = board;
  const { op } = request;
  if (op === 'connect') return { status: 'ok' };
  if (op === 'status') {
    const { lifeCycle, debugState } = chip;
    return { status: 'ok', data: encodeStatus({ lifeCycle: lifeCycle(), debugState: debugState(), stage: board.stage() }) };
  }
  if (chip.debugState() === 'locked') return { status: 'locked' };
  return carryOut(board, op, request);
}

type OpenOperation = Exclude<DebugRequest['op'], 'connect' | 'status'>;

async function carryOut(board: Board, op: OpenOperation, request: DebugRequest): Promise<DebugReply> {
  const { chip } = board;
  switch (op) {
    case 'readUid':
      return { status: 'ok', data: encodeIdentity({ ...chip, lifeCycle: chip.lifeCycle(), debugState: chip.debugState() }) };
    case 'readMemory':
      return onMemory(() => ({ status: 'ok', data: readMemory(chip, needed(request.address), needed(request.length)) }));
    case 'writeMemory':
      return onMemory(() => {
        writeMemory(chip, needed(request.address), needed(request.data));
        chip.sync();
        return { status: 'ok' };
      });
    case 'run':
      return { status: (await board.run(needed(request.address))) ? 'ok' : 'fault' };
    case 'reset':
      await board.reset();
      return { status: 'ok' };
  }
}

function needed<T>(value: T | undefined): T {
  if (value === undefined) throw new NusecError('BAD_REQUEST', 'the request lacks a field');
  return value;
}

function onMemory(work: () => DebugReply): DebugReply {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError || error instanceof PowerCut) return { status: 'fault' };
    throw error;
  }
}

function readMemory(chip: Chip, address: number, length: number): Uint8Array {
  const config = configOffset(address, length);
  if (config !== undefined) return configOf(chip).slice(config, config + length);
  const sram = sramOffset(address, length);
  return sram === undefined ? chip.flash.read(flashOffset(address, length), length) : chip.sram.slice(sram, sram + length);
}

function writeMemory(chip: Chip, address: number, data: Uint8Array): void {
  const config = configOffset(address, data.length);
  if (config !== undefined) {
    const words = configOf(chip);
    words.set(data, config);
    chip.data.put(configName, words);
    return;
  }
  const sram = sramOffset(address, data.length);
  if (sram === undefined) writeFlash(chip, flashOffset(address, data.length), data);
  else chip.sram.set(data, sram);
}

/** Erased flash reads as ones. */
const configOf = ({ data }: Chip): Uint8Array => data.get(configName)?.slice() ?? new Uint8Array(memoryMap.config.bytes).fill(erasedByte);

function configOffset(address: number, length: number): number | undefined {
  const offset = address - memoryMap.config.address;
  return offset >= 0 && offset + length <= memoryMap.config.bytes ? offset : undefined;
}

function sramOffset(address: number, length: number): number | undefined {
  const offset = address - memoryMap.sram.address;
  return offset >= 0 && offset + length <= memoryMap.sram.bytes ? offset : undefined;
}

/** Only what the memory map names; the rest of the flash belongs to the software. @throws RangeError */
function flashOffset(address: number, length: number): number {
  const offset = address - memoryMap.bl2.address;
  const end = memoryMap.secondary.address + memoryMap.secondary.bytes - memoryMap.bl2.address;
  if (offset < 0 || offset + length > end) throw new RangeError(`no memory at ${address}`);
  return offset;
}

/** As a flash loader does: read the sector, erase it, program it with the new bytes in place. */
function writeFlash({ flash }: Chip, offset: number, data: Uint8Array): void {
  const { sectorBytes } = flash;
  for (let sector = offset - (offset % sectorBytes); sector < offset + data.length; sector += sectorBytes) {
    const content = flash.read(sector, sectorBytes);
    const from = Math.max(offset, sector);
    content.set(data.subarray(from - offset, sector + sectorBytes - offset), from - sector);
    flash.eraseSector(sector);
    flash.program(sector, content);
  }
}
