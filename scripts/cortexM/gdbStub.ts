import { once } from 'node:events';
import { connect } from 'node:net';
import { fromHex, toHex } from '../../src/bytes.ts';
import { within } from '../../src/within.ts';

/** QEMU's gdb port, as far as a debug probe needs it: memory, registers, halt, resume, step, reset.
 *  Packets are `$data#xx` (GDB manual, appendix E); one request is outstanding. While the processor runs the port answers nothing. */

export type GdbStub = {
  /** @returns undefined where there is no memory */
  readonly read: (address: number, length: number) => Promise<Uint8Array | undefined>;
  /** @returns false where there is no memory */
  readonly write: (address: number, data: Uint8Array) => Promise<boolean>;
  readonly readRegister: (index: number) => Promise<number>;
  readonly writeRegister: (index: number, value: number) => Promise<void>;
  readonly isRunning: () => boolean;
  readonly halt: () => Promise<void>;
  readonly resume: () => Promise<void>;
  readonly step: () => Promise<void>;
  /** Resets the whole machine; it stays halted. */
  readonly reset: () => Promise<void>;
  readonly close: () => void;
};

const answerTimeoutMs = 10_000;
/** QEMU takes packets of 4096 bytes; data is hex. */
const maxPieceBytes = 1024;
const breakByte = 0x03;

/** @param path Unix socket of `-gdb unix:…` @throws Error when nobody listens there */
export async function connectGdb(path: string): Promise<GdbStub> {
  const socket = connect(path);
  await once(socket, 'connect');
  let isRunning = false;
  let stopped = Promise.withResolvers<void>();
  let answer = Promise.withResolvers<string>();
  let text = '';
  const take = (packet: string): void => {
    if (/^[ST]/.test(packet)) {
      isRunning = false;
      stopped.resolve();
    } else answer.resolve(packet);
  };
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
    for (let found = /\$([^#]*)#../.exec(text); found; found = /\$([^#]*)#../.exec(text)) {
      text = text.slice(found.index + found[0].length);
      socket.write('+');
      take(found[1] ?? '');
    }
  });
  socket.on('error', () => socket.destroy());

  const send = (packet: string): void => {
    const sum = [...packet].reduce((total, letter) => total + letter.charCodeAt(0), 0) & 0xff;
    socket.write(`$${packet}#${sum.toString(16).padStart(2, '0')}`);
  };
  const inTime = async <T>(what: string, promise: Promise<T>): Promise<T> => {
    const done = await within(
      promise.then(value => ({ value })),
      answerTimeoutMs,
    );
    if (!done) throw new Error(`the gdb port does not answer: ${what}`);
    return done.value;
  };
  const ask = (packet: string): Promise<string> => {
    answer = Promise.withResolvers();
    send(packet);
    return inTime(packet.slice(0, 16), answer.promise);
  };
  const run = (packet: string): void => {
    stopped = Promise.withResolvers();
    isRunning = true;
    send(packet);
  };
  // QEMU gives single registers only after it was asked for their description.
  await ask('qXfer:features:read:target.xml:0,ffb');
  return {
    read: async (address, length) => {
      const reply = await ask(`m${address.toString(16)},${length.toString(16)}`);
      return reply.length === 2 * length ? fromHex(reply) : undefined;
    },
    write: async (address, data) => {
      for (let at = 0; at < data.length; at += maxPieceBytes) {
        const piece = data.subarray(at, at + maxPieceBytes);
        if ((await ask(`M${(address + at).toString(16)},${piece.length.toString(16)}:${toHex(piece)}`)) !== 'OK') return false;
      }
      return true;
    },
    readRegister: async index => littleEndian(fromHex(await ask(`p${index.toString(16)}`))).getUint32(0, true),
    writeRegister: async (index, value) => {
      const bytes = new Uint8Array(4);
      littleEndian(bytes).setUint32(0, value, true);
      await ask(`P${index.toString(16)}=${toHex(bytes)}`);
    },
    isRunning: () => isRunning,
    halt: async () => {
      if (!isRunning) return;
      socket.write(Uint8Array.of(breakByte));
      await inTime('halt', stopped.promise);
    },
    resume: async () => run('c'),
    step: async () => {
      run('s');
      await inTime('step', stopped.promise);
    },
    reset: async () => void (await ask(`qRcmd,${toHex(new TextEncoder().encode('system_reset'))}`)),
    close: () => socket.destroy(),
  };
}

const littleEndian = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
