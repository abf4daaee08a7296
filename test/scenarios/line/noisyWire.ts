import { type ByteLink, connectTcp, listenTcp } from '../../../gateway-device/link/byteLink.ts';
import type { Random } from '../../fuzz/random.ts';

/** A serial wire that damages frames on it, in both directions: one bit of one byte. */

const frameFlag = 0x7e;

/** @param toPort of the chip @param oneIn so many frames is damaged */
export async function noisyWire(toPort: number, oneIn: number, random: Random) {
  const frames = { passed: 0, damaged: 0 };
  const sent = (frame: readonly number[]): readonly number[] => {
    frames.passed += 1;
    if (random(oneIn) !== 0) return frame;
    frames.damaged += 1;
    const place = random(frame.length);
    return frame.map((byte, at) => (at === place ? byte ^ (1 << random(8)) : byte));
  };
  const pass = (from: ByteLink, to: ByteLink): void => {
    let frame: number[] = [];
    from.onData(bytes => {
      const out: number[] = [];
      for (const byte of bytes) {
        frame.push(byte);
        if (byte !== frameFlag || frame.length === 1) continue;
        out.push(...sent(frame));
        frame = [];
      }
      if (out.length > 0) void to.write(Uint8Array.from(out)).catch(() => undefined);
    });
  };
  const { port, close } = await listenTcp(0, async near => {
    const far = await connectTcp('127.0.0.1', toPort).catch(() => near.close());
    if (!far) return;
    pass(near, far);
    pass(far, near);
    near.onClose(() => void far.close());
    far.onClose(() => void near.close());
  });
  return { port, frames, close };
}
