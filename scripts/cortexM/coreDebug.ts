import { concat } from '../../src/bytes.ts';
import type { GdbStub } from './gdbStub.ts';

/** What a debugger sees behind the access port of a Cortex-M33: memory, and the debug registers of the core (Armv8-M ARM, DDI0553, D1.2).
 *  Memory and core registers are QEMU's. Words that are written one after the other go to QEMU in one piece. */

export type CoreDebug = {
  /** @returns undefined for a bus fault */
  readonly read: (address: number, bytes: 1 | 2 | 4) => Promise<number | undefined>;
  /** @returns false for a bus fault; of plain memory it may be reported later, as posted writes are */
  readonly write: (address: number, bytes: 1 | 2 | 4, value: number) => Promise<boolean>;
};

export type Range = { readonly address: number; readonly bytes: number };

/** DDI0553: D1.2.38 DHCSR, D1.2.35 DCRSR, D1.2.34 DCRDR, D1.2.36 DEMCR, D1.2.39 DFSR, D1.2.4 AIRCR, D1.2.32 CPUID. */
const register = {
  cpuid: 0xe000_ed00,
  aircr: 0xe000_ed0c,
  dfsr: 0xe000_ed30,
  dhcsr: 0xe000_edf0,
  dcrsr: 0xe000_edf4,
  dcrdr: 0xe000_edf8,
  demcr: 0xe000_edfc,
} as const;
const privatePeripherals = { address: 0xe000_0000, bytes: 0x10_0000 };
const cortexM33 = 0x410f_d213;
const debugKey = 0xa05f;
const resetKey = 0x05fa;
const bit = {
  debugEnable: 1 << 0,
  halt: 1 << 1,
  step: 1 << 2,
  maskInterrupts: 1 << 3,
  registerReady: 1 << 16,
  isHalted: 1 << 17,
  wasReset: 1 << 25,
  systemReset: 1 << 2,
  catchReset: 1 << 0,
  writeRegister: 1 << 16,
} as const;
const faultStatus = { halted: 1 << 0, vectorCatch: 1 << 3 } as const;
/** Register selectors of DCRSR → QEMU's numbers: 13 is the stack pointer in use, which is the main one (17) after a reset. */
const coreRegister = new Map([...Array.from({ length: 16 }, (_, index) => [index, index] as const), [16, 25], [17, 13]]);

const aheadBytes = 1024;
const nothingAhead = { address: -1, data: new Uint8Array() };

/** @param closed what the debug port does not reach, as on silicon: the KeyStore */
export function createCoreDebug(stub: GdbStub, closed: readonly Range[]): CoreDebug {
  let [control, exceptions, transfer, fault] = [0, 0, 0, 0];
  let wasReset = true;
  let ahead = nothingAhead;
  let posted: { readonly address: number; readonly parts: Uint8Array[]; end: number } | undefined;

  /** QEMU answers only while it is halted; a program that runs does not notice. */
  const whileHalted = async <T>(work: () => Promise<T>): Promise<T> => {
    const wasRunning = stub.isRunning();
    if (wasRunning) await stub.halt();
    const done = await work();
    if (wasRunning) await stub.resume();
    return done;
  };
  const flush = async (): Promise<boolean> => {
    const writing = posted;
    posted = undefined;
    return !writing || whileHalted(() => stub.write(writing.address, concat(...writing.parts)));
  };
  const post = async (address: number, data: Uint8Array): Promise<boolean> => {
    if (posted?.end !== address) {
      const flushed = await flush();
      posted = { address, parts: [], end: address };
      if (!flushed) return false;
    }
    posted.parts.push(data);
    posted.end += data.length;
    return true;
  };
  /** Words that are read one after the other come from QEMU in pieces. */
  const readMemory = async (address: number, bytes: number): Promise<Uint8Array | undefined> => {
    const isNext = address === ahead.address && ahead.data.length >= bytes;
    const pieceBytes = address === ahead.address ? aheadBytes - (address % aheadBytes) : bytes;
    const data = isNext ? ahead.data : await whileHalted(() => stub.read(address, pieceBytes));
    ahead = { address: address + bytes, data: data?.slice(bytes) ?? new Uint8Array() };
    return data?.subarray(0, bytes);
  };
  const reset = async (): Promise<void> => {
    await flush();
    await stub.halt();
    await stub.reset();
    wasReset = true;
    const isCaught = (exceptions & bit.catchReset) !== 0 && (control & bit.debugEnable) !== 0;
    if (isCaught) fault |= faultStatus.vectorCatch;
    else await stub.resume();
  };
  const controlled = async (value: number): Promise<void> => {
    if (value >>> 16 !== debugKey) return;
    control = value & (bit.debugEnable | bit.halt | bit.step | bit.maskInterrupts);
    const isDebugged = (control & bit.debugEnable) !== 0;
    if (isDebugged && (control & bit.halt) !== 0) {
      if (stub.isRunning()) fault |= faultStatus.halted;
      await stub.halt();
    } else if (!stub.isRunning()) {
      if (isDebugged && (control & bit.step) !== 0) {
        await stub.step();
        fault |= faultStatus.halted;
      } else await stub.resume();
    }
  };
  const selected = async (value: number): Promise<void> => {
    const index = coreRegister.get(value & 0x7f);
    if ((value & bit.writeRegister) === 0) transfer = index === undefined ? 0 : await stub.readRegister(index);
    else if (index !== undefined) await stub.writeRegister(index, transfer);
  };
  const readCore = (address: number): number => {
    switch (address) {
      case register.cpuid:
        return cortexM33;
      case register.dhcsr: {
        const status = bit.registerReady | (stub.isRunning() ? 0 : bit.isHalted) | (wasReset ? bit.wasReset : 0);
        wasReset = false;
        return control | status;
      }
      case register.dcrdr:
        return transfer;
      case register.demcr:
        return exceptions;
      case register.dfsr:
        return fault;
      default:
        return 0;
    }
  };
  const writeCore = async (address: number, value: number): Promise<void> => {
    if (address === register.dhcsr) await controlled(value);
    else if (address === register.dcrsr) await selected(value);
    else if (address === register.dcrdr) transfer = value;
    else if (address === register.demcr) exceptions = value;
    else if (address === register.dfsr) fault &= ~value;
    else if (address === register.aircr && value >>> 16 === resetKey && (value & bit.systemReset) !== 0) await reset();
  };
  const isClosed = (address: number): boolean => closed.some(range => isIn(range, address));

  return {
    read: async (address, bytes) => {
      if (!(await flush()) || isClosed(address)) return undefined;
      if (isIn(privatePeripherals, address)) return readCore(address);
      const data = await readMemory(address, bytes);
      return data?.reduceRight((value, byte) => value * 256 + byte, 0);
    },
    write: async (address, bytes, value) => {
      if (isClosed(address)) return false;
      ahead = nothingAhead;
      if (!isIn(privatePeripherals, address)) {
        return post(
          address,
          Uint8Array.from({ length: bytes }, (_, index) => value >>> (8 * index)),
        );
      }
      const flushed = await flush();
      await writeCore(address, value);
      return flushed;
    },
  };
}

const isIn = ({ address, bytes }: Range, place: number): boolean => place >= address && place < address + bytes;
