import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DebugPort } from '../../../gateway-device/link/debugPort.ts';
import { openDebugPort } from '../../../gateway-device/link/openDebugPort.ts';
import type { CortexBoard } from '../../../scripts/cortexM/board.ts';
import { opening, whileOpen } from '../../../src/closing.ts';
import { boardFolder, skippedBecause, startBoard } from '../../firmware/cortexBoard.ts';

/** A real OpenOCD drives a Cortex-M33 in QEMU over JTAG. */

const code = (wanted: string) => expect.objectContaining({ code: wanted });
const sram = 0x3800_0000;
const keyStore = 0x8000_2000;
const nowhere = 0x7000_0000;

describe.skipIf(skippedBecause !== undefined)('the debug port over OpenOCD', () => {
  let board: CortexBoard & { close(): Promise<void> };
  let port: DebugPort;
  beforeAll(async () => {
    board = await opening(async own => startBoard(own, { folder: boardFolder(own) }));
    port = await openDebugPort(board.debug);
  });
  afterAll(async () => {
    await port.close();
    await board.close();
  });

  it('reads the identity of the chip, and its state', async () => {
    await port.connect();
    const uid = Uint8Array.from({ length: 16 }, (_, index) => 0xc0 + index);
    expect(await port.readUid()).toEqual({ uid, productId: 0x2354, lifeCycle: 'manufacture', debugState: 'open' });
    expect(await port.status()).toMatchObject({ lifeCycle: 'manufacture', debugState: 'open' });
  });

  it('writes SRAM and flash, and reads back at any address and length', async () => {
    const data = Uint8Array.from({ length: 3001 }, (_, index) => index * 7);
    const { address } = port.flash.bl2;
    for (const place of [sram, address]) {
      await port.writeMemory(place, data);
      expect(await port.readMemory(place, data.length)).toEqual(data);
      expect(await port.readMemory(place + 1030, 5)).toEqual(data.slice(1030, 1035));
    }
  });

  it('runs code from SRAM, and a reset ends it', async () => {
    // Stack and start; then: movs r1, #42 · ldr r0, [pc, #4] · str r1, [r0] · b . · address of the word behind it
    const program = Uint32Array.of(sram + 0x1000, sram + 9, 0x4801_212a, 0xe7fe_6001, sram + 24, 0, 0);
    await port.reset();
    await port.writeMemory(sram, new Uint8Array(program.buffer));
    await port.run(sram);
    await expect.poll(async () => (await port.readMemory(sram + 24, 1))[0]).toBe(42);
    expect(await programCounter()).toBe(sram + 14);
    await port.reset();
    await expect.poll(programCounter).toBeLessThan(sram);
  });
  const programCounter = async (): Promise<number> => {
    await board.stub.halt();
    const address = await board.stub.readRegister(15);
    await board.stub.resume();
    return address;
  };

  it('loads the DevAuth code that the configuration names, and tells where it starts', async () => {
    expect(await port.loadDevAuth()).toBe(sram);
    const [, start = 0] = new Uint32Array((await port.readMemory(sram, 8)).buffer);
    expect(start & 1).toBe(1);
    expect(start).toBeGreaterThan(sram);
    await port.reset();
  });

  it('reaches neither the KeyStore nor what is not there, and works on', async () => {
    await expect(port.readMemory(keyStore, 32)).rejects.toThrow(code('BAD_REQUEST'));
    await expect(port.readMemory(nowhere, 4)).rejects.toThrow(code('BAD_REQUEST'));
    expect(await port.readMemory(sram, 4)).toHaveLength(4);
  });

  it('shows a locked chip as locked, and gives nothing of it', () =>
    whileOpen(async own => {
      const locked = await startBoard(own, { folder: boardFolder(own), isLocked: true });
      const closed = own('port', await openDebugPort(locked.debug));
      await closed.connect();
      expect(await closed.status()).toMatchObject({ debugState: 'locked' });
      for (const refused of [() => closed.readUid(), () => closed.readMemory(sram, 4), () => closed.writeMemory(sram, new Uint8Array(4))]) {
        await expect(refused()).rejects.toThrow(code('DEBUG_LOCKED'));
      }
    }));

  it('refuses an OpenOCD whose configuration describes no chip, and one that is not there', async () => {
    const bare = spawn('openocd', ['-c', 'adapter driver dummy; gdb_port disabled; telnet_port disabled; tcl_port 0']);
    try {
      const found = await new Promise<string | undefined>(resolve => {
        bare.stderr.setEncoding('utf8').on('data', (text: string) => {
          const listening = /Listening on port (\d+) for tcl/.exec(text);
          if (listening) resolve(listening[1]);
        });
        bare.once('close', () => resolve(undefined));
      });
      expect(found).toBeDefined();
      await expect(openDebugPort(`openocd:127.0.0.1:${found}`)).rejects.toThrow(code('BAD_REQUEST'));
    } finally {
      bare.kill('SIGKILL');
      await once(bare, 'close');
    }
    await expect(openDebugPort('openocd:127.0.0.1:1')).rejects.toThrow(code('LINK_FAILED'));
    expect(() => openDebugPort('probe:localhost')).toThrow(code('BAD_REQUEST'));
  });
});
