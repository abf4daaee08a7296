import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, constants as fileFlags, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Own, opening } from '../../src/closing.ts';
import { within } from '../../src/within.ts';
import { serveBusPirate } from './busPirate.ts';
import { createCoreDebug } from './coreDebug.ts';
import { connectGdb, type GdbStub } from './gdbStub.ts';
import { feedNoise } from './noise.ts';

/** A Cortex-M33 board in QEMU (mps2-an505) with its debug port behind OpenOCD (docs/cortex-m.md). Its non-volatile memory is a file, so ending
 *  the process is a power cut. */

export type CortexBoard = {
  /** Pseudo-terminal of the UART. */
  readonly serial: string;
  /** As `nusec produce` takes it. */
  readonly debug: string;
  readonly stub: GdbStub;
  /** Ends QEMU in the middle of whatever it does. */
  readonly cutPower: () => Promise<void>;
};

export type BoardOptions = {
  /** Holds the non-volatile memory; created when missing. */
  readonly folder: string;
  /** Fused into a new board: 16 bytes. */
  readonly uid: Uint8Array;
  readonly productId: number;
  /** As `buildFirmware` gives it. */
  readonly firmware: { readonly bootRom: string; readonly devAuth: string };
  /** The noise source; random bytes when not given. */
  readonly noise?: (bytes: number) => Uint8Array;
  /** Behind the lock the debug port reaches no memory. */
  readonly isLocked?: boolean;
};

const nvmBytes = 16 * 1024 * 1024;
/** Page of fuses: uid[16], then product id, life cycle and debug state as words (firmware/devauth/an505/board.c). */
const fuses = { uid: 0, productId: 16 } as const;
/** Not reached by the debug port, as on silicon. */
const keyStore = { address: 0x8000_2000, bytes: 0x1000 };
const everything = { address: 0, bytes: 2 ** 32 };
const startTimeoutMs = 30_000;
const openOcdConfig = fileURLToPath(new URL('../../firmware/devauth/an505/openocd.cfg', import.meta.url));

export const startCortexBoard = (options: BoardOptions) => opening(own => openBoard(own, options));

async function openBoard(
  own: Own,
  { folder, firmware, noise = randomBytes, isLocked = false, ...chip }: BoardOptions,
): Promise<CortexBoard> {
  mkdirSync(folder, { recursive: true });
  const nvm = join(folder, 'nvm.bin');
  if (!existsSync(nvm)) writeFileSync(nvm, blankChip(chip));
  own('noise', feedNoise(nvm, noise));
  const gdbSocket = join(folder, 'gdb.sock');
  const qemu = own(
    'qemu',
    startProcess('qemu-system-arm', [
      ...['-machine', 'mps2-an505,memory-backend=nvm', '-object', `memory-backend-file,id=nvm,size=16M,mem-path=${nvm},share=on`],
      ...['-display', 'none', '-monitor', 'none', '-S', '-kernel', firmware.bootRom],
      ...['-serial', 'pty'],
      ...['-chardev', `socket,id=gdb,path=${gdbSocket},server=on,wait=off`, '-gdb', 'chardev:gdb'],
    ]),
  );
  const serial = await qemu.line(/redirected to (\S+)/);
  // QEMU looks once a second for somebody at a pseudo-terminal that nobody has open.
  const held = openSync(serial, fileFlags.O_RDWR | fileFlags.O_NOCTTY);
  own('pseudo-terminal', { close: () => closeSync(held) });
  const stub = own('gdb port', await connectGdb(gdbSocket));
  await stub.resume();
  const adapterSocket = join(folder, 'jtag.sock');
  rmSync(adapterSocket, { force: true });
  own('JTAG', await serveBusPirate(adapterSocket, createCoreDebug(stub, isLocked ? [everything] : [keyStore])));
  const line = own('serial line of the adapter', startProcess('socat', ['-d', '-d', 'pty,raw,echo=0', `unix-connect:${adapterSocket}`]));
  const variables = `set NUSEC_ADAPTER ${await line.line(/PTY is (\S+)/)}; set NUSEC_DEVAUTH {${firmware.devAuth}}`;
  const openOcd = own('OpenOCD', startProcess('openocd', ['-c', variables, '-f', openOcdConfig]));
  const port = await openOcd.line(/Listening on port (\d+) for tcl connections/);
  return { serial, debug: `openocd:127.0.0.1:${port}`, stub, cutPower: () => qemu.close() };
}

function blankChip({ uid, productId }: Pick<BoardOptions, 'uid' | 'productId'>): Uint8Array {
  const content = new Uint8Array(nvmBytes);
  content.set(uid, fuses.uid);
  new DataView(content.buffer).setUint32(fuses.productId, productId, true);
  return content;
}

/** A program whose output is waited for. */
function startProcess(program: string, args: readonly string[]) {
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  favour(child.pid);
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()).once('error', () => resolve()));
  let text = '';
  let look = (): void => undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      look();
    });
  }
  return {
    /** The first group of the pattern. @throws Error when it does not come */
    line: async (pattern: RegExp): Promise<string> => {
      const found = new Promise<string>((resolve, reject) => {
        look = () => {
          const match = pattern.exec(text)?.[1];
          if (match !== undefined) resolve(match);
        };
        look();
        void ended.then(() => reject(new Error(`${program} ended: ${text}`)));
      });
      const line = await within(found, startTimeoutMs);
      if (line === undefined) throw new Error(`${program} is not ready: ${text}`);
      look = () => undefined;
      return line;
    },
    /** These programs have nothing to save, and SIGTERM may wait for a probe. */
    close: async (): Promise<void> => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Each byte of a wire is a change of the process; on a busy machine they would come at a hundredth of the speed of a UART. */
function favour(pid: number | undefined): void {
  try {
    if (pid !== undefined) setPriority(pid, constants.priority.PRIORITY_HIGH);
  } catch {
    // Only the superuser may.
  }
}
