import type { CoreDebug } from './coreDebug.ts';

/** A JTAG debug port with one memory access port, as a Cortex-M has them (ADIv5.2, IHI0031: B3 JTAG-DP, C2 MEM-AP), bit by bit. */

export type Tap = {
  /** The bit on TDO. */
  readonly tdo: () => number;
  /** A rising edge of TCK. @returns a promise while a memory access is under way */
  readonly clock: (tms: number, tdi: number) => Promise<void> | undefined;
};

const idCode = 0x0ba0_6477;
const irBits = 4;
const instruction = { abort: 0x8, dpAccess: 0xa, apAccess: 0xb, idCode: 0xe } as const;
/** What Capture-IR loads (IEEE 1149.1 §7.2). */
const irCapture = 0b0001;
const accessBits = 35;
const ackOk = 0b010;

/** Next state on TMS 0 and 1 (IEEE 1149.1, figure 6-1). */
const states = {
  reset: ['idle', 'reset'],
  idle: ['idle', 'selectDr'],
  selectDr: ['captureDr', 'selectIr'],
  captureDr: ['shiftDr', 'exit1Dr'],
  shiftDr: ['shiftDr', 'exit1Dr'],
  exit1Dr: ['pauseDr', 'updateDr'],
  pauseDr: ['pauseDr', 'exit2Dr'],
  exit2Dr: ['shiftDr', 'updateDr'],
  updateDr: ['idle', 'selectDr'],
  selectIr: ['captureIr', 'reset'],
  captureIr: ['shiftIr', 'exit1Ir'],
  shiftIr: ['shiftIr', 'exit1Ir'],
  exit1Ir: ['pauseIr', 'updateIr'],
  pauseIr: ['pauseIr', 'exit2Ir'],
  exit2Ir: ['shiftIr', 'updateIr'],
  updateIr: ['idle', 'selectDr'],
} as const;
type State = keyof typeof states;

export function createTap(core: CoreDebug): Tap {
  const port = createDebugPort(core);
  let state: State = 'reset';
  let ir: number = instruction.idCode;
  // A shift register: bits leave and enter at `place`, which goes round.
  let bits = new Uint8Array(1);
  let place = 0;
  const load = (value: bigint, length: number): void => {
    bits = Uint8Array.from({ length }, (_, index) => Number((value >> BigInt(index)) & 1n));
    place = 0;
  };
  const value = (): bigint => bits.reduceRight((sum, _, index) => sum * 2n + BigInt(bits[(place + index) % bits.length] ?? 0), 0n);
  const captureDr = (): void => {
    const isAccess = ir === instruction.dpAccess || ir === instruction.apAccess || ir === instruction.abort;
    if (isAccess) load((BigInt(port.lastRead()) << 3n) | BigInt(ackOk), accessBits);
    else if (ir === instruction.idCode) load(BigInt(idCode), 32);
    else load(0n, 1);
  };
  const updateDr = (): Promise<void> | undefined => {
    if (bits.length !== accessBits) return undefined;
    const word = value();
    const access = {
      isRead: (word & 1n) === 1n,
      register: Number((word >> 1n) & 3n) * 4,
      value: Number((word >> 3n) & 0xffff_ffffn),
    };
    if (ir === instruction.dpAccess) return void port.debug(access);
    if (ir === instruction.apAccess) return port.access(access);
    return undefined;
  };
  return {
    tdo: () => bits[place] ?? 0,
    clock: (tms, tdi) => {
      if (state === 'captureDr') captureDr();
      else if (state === 'captureIr') load(BigInt(irCapture), irBits);
      else if (state === 'shiftDr' || state === 'shiftIr') {
        bits[place] = tdi;
        place = (place + 1) % bits.length;
      }
      state = states[state][tms === 0 ? 0 : 1];
      if (state === 'reset') ir = instruction.idCode;
      else if (state === 'updateIr') ir = Number(value());
      else if (state === 'updateDr') return updateDr();
      return undefined;
    },
  };
}

type Access = { readonly isRead: boolean; readonly register: number; readonly value: number };

/** IHI0031 B2.2: CTRL/STAT. Acknowledges power as it is asked for. */
const powerRequest = { debug: 1 << 28, system: 1 << 30 } as const;
const powerAcknowledge = { debug: 1 << 29, system: 1 << 31 } as const;
const stickyError = 1 << 5;
const stickyOverrun = 1 << 1;
/** IHI0031 C2.6: registers of the access port by bank and offset. IDR is that of an AHB5-AP. */
const accessPort = { csw: 0x00, tar: 0x04, drw: 0x0c, bankedFirst: 0x10, bankedLast: 0x1c, base: 0xf8, idr: 0xfc } as const;
const accessPortId = 0x8477_0001;
const noComponents = 0xffff_ffff;
const csw = { size: 0x7, increment: 0x30, incrementSingle: 0x10, deviceEnabled: 0x40 } as const;
/** Automatic increments stay inside of 1 KiB (C2.2.2). */
const incrementMask = 0x3ff;

function createDebugPort(core: CoreDebug) {
  let [control, select, read, mode, address] = [0, 0, 0, 0x2, 0];
  let hasFailed = false;

  const debug = ({ isRead, register, value }: Access): void => {
    if (isRead) {
      if (register === 0x4) read = status();
      else read = register === 0x0 ? idCode : 0;
    } else if (register === 0x4) {
      control = value;
      if ((value & (stickyError | stickyOverrun)) !== 0) hasFailed = false;
    } else if (register === 0x8) select = value;
  };
  const status = (): number => {
    const { debug: debugPower, system } = powerRequest;
    const debugOn = control & debugPower ? debugPower | powerAcknowledge.debug : 0;
    const systemOn = control & system ? system | powerAcknowledge.system : 0;
    return (debugOn | systemOn | (hasFailed ? stickyError : 0)) >>> 0;
  };
  const data = async (place: number, size: 1 | 2 | 4, { isRead, value }: Access): Promise<void> => {
    const shift = 8 * (place & 3 & ~(size - 1));
    if (isRead) {
      const found = await core.read(place, size);
      if (found === undefined) hasFailed = true;
      read = ((found ?? 0) << shift) >>> 0;
    } else if (!(await core.write(place, size, value >>> shift))) hasFailed = true;
  };
  const transfer = async (access: Access): Promise<void> => {
    const size = ([1, 2, 4] as const)[mode & csw.size] ?? 4;
    await data(address, size, access);
    if ((mode & csw.increment) === csw.incrementSingle) address = ((address & ~incrementMask) | ((address + size) & incrementMask)) >>> 0;
  };
  const plain = ({ isRead, value }: Access, register: number): void => {
    if (!isRead) {
      // Packed transfers are not offered: the debugger reads back what it got.
      if (register === accessPort.csw) mode = (value & csw.increment) === 0x20 ? value & ~csw.increment : value;
      else if (register === accessPort.tar) address = value;
    } else if (register === accessPort.csw) read = (mode | csw.deviceEnabled) >>> 0;
    else if (register === accessPort.tar) read = address;
    else if (register === accessPort.idr) read = accessPortId;
    else read = register === accessPort.base ? noComponents : 0;
  };
  return {
    lastRead: () => read,
    debug,
    access: (access: Access): Promise<void> | undefined => {
      const register = (select & 0xf0) | access.register;
      if (select >>> 24 !== 0) {
        read = 0;
        return undefined;
      }
      if (hasFailed) return undefined;
      if (register === accessPort.drw) return transfer(access);
      if (register >= accessPort.bankedFirst && register <= accessPort.bankedLast) {
        return data(((address & ~0xf) | access.register) >>> 0, 4, access);
      }
      plain(access, register);
      return undefined;
    },
  };
}
