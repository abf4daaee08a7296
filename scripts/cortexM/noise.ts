import { closeSync, openSync, readSync, writeSync } from 'node:fs';

/** The noise source of the board: a ring of samples in its memory, which is a file. The board takes samples at `tail`, we add them at `head`
 *  (firmware/devauth/an505/board.c). A UART would cost two changes of the process for each byte. */

const place = 0x00f0_0000;
const head = place;
const tail = place + 4;
const samples = place + 8;
const ringBytes = 32 * 1024;
/** A board that starts takes a twentieth of the ring. */
const refillMs = 200;

/** @param file the memory of the board @param noise gives so many samples */
export function feedNoise(file: string, noise: (bytes: number) => Uint8Array) {
  const memory = openSync(file, 'r+');
  const word = new DataView(new ArrayBuffer(4));
  const read = (at: number): number => {
    readSync(memory, word, 0, 4, at);
    return word.getUint32(0, true);
  };
  const fill = (): void => {
    const from = read(head);
    const missing = ringBytes - ((from - read(tail)) >>> 0);
    if (missing === 0) return;
    const fresh = noise(missing);
    const untilEnd = Math.min(missing, ringBytes - (from % ringBytes));
    writeSync(memory, fresh, 0, untilEnd, samples + (from % ringBytes));
    writeSync(memory, fresh, untilEnd, missing - untilEnd, samples);
    word.setUint32(0, from + missing, true);
    writeSync(memory, word, 0, 4, head);
  };
  fill();
  const timer = setInterval(fill, refillMs);
  return {
    close: () => {
      clearInterval(timer);
      closeSync(memory);
    },
  };
}
