import { concat } from '../../bytes.ts';

/** MCTP over serial (DSP0253): 7E | 01 revision | byte count | MCTP packet | FCS high | FCS low | 7E. Escapes in the packet only:
 *  7E → 7D 5E, 7D → 7D 5D; byte count and FCS are those of the unescaped packet. */

const frameFlag = 0x7e;
const escapeByte = 0x7d;
const escapeBit = 0x20;
const serialRevision = 0x01;
/** The byte count is one byte. */
export const maxPacketBytes = 0xff;
/** Body of one MCTP packet on a serial link: with its header of 4 bytes it stays below the largest byte count. */
export const maxSerialUnitBytes = 250;

/** @param packet MCTP packet, 1 to 255 bytes
 *  @throws RangeError for another length */
export function encodeSerialFrame(packet: Uint8Array): Uint8Array {
  if (packet.length === 0 || packet.length > maxPacketBytes) throw new RangeError('MCTP packet does not fit into a serial frame');
  const head = Uint8Array.of(serialRevision, packet.length);
  const fcs = checkSequence(concat(head, packet));
  return concat(Uint8Array.of(frameFlag), head, escaped(packet), Uint8Array.of(fcs >>> 8, fcs & 0xff, frameFlag));
}

/** What a stream of bytes turned out to hold. `damaged` counts frames dropped for their revision, length, escape or FCS. */
export type SerialDecoder = {
  /** @returns the MCTP packets completed by these bytes, in order; damaged frames are dropped, as DSP0253 §8 says */
  push(bytes: Uint8Array): readonly Uint8Array[];
  damagedFrames(): number;
};

/** Reads a byte stream in any portions. Holds at most one frame. */
export function createSerialDecoder(): SerialDecoder {
  let state: DecoderState = idle;
  let damaged = 0;
  return {
    push: bytes => {
      const packets: Uint8Array[] = [];
      for (const byte of bytes) {
        const next = step(state, byte);
        state = next.state;
        if (next.damaged) damaged += 1;
        if (next.packet) packets.push(next.packet);
      }
      return packets;
    },
    damagedFrames: () => damaged,
  };
}

type DecoderState =
  | { readonly at: 'idle' | 'revision' | 'count' }
  | { readonly at: 'data' | 'escape'; readonly packet: Uint8Array; readonly filled: number }
  | { readonly at: 'fcsHigh' | 'fcsLow' | 'end'; readonly packet: Uint8Array; readonly fcs: number };
type Step = { readonly state: DecoderState; readonly packet?: Uint8Array; readonly damaged?: boolean };

const idle: DecoderState = { at: 'idle' };
const afterFlag: DecoderState = { at: 'revision' };

function step(state: DecoderState, byte: number): Step {
  switch (state.at) {
    case 'idle':
      return { state: byte === frameFlag ? afterFlag : idle };
    case 'revision':
      if (byte === frameFlag) return { state: afterFlag };
      return byte === serialRevision ? { state: { at: 'count' } } : { state: idle, damaged: true };
    case 'count':
      return byte === 0 ? { state: idle, damaged: true } : { state: { at: 'data', packet: new Uint8Array(byte), filled: 0 } };
    case 'data':
      if (byte === frameFlag) return { state: afterFlag, damaged: true };
      return byte === escapeByte ? { state: { ...state, at: 'escape' } } : { state: filled(state.packet, state.filled, byte) };
    case 'escape':
      return unescaped(state.packet, state.filled, byte);
    case 'fcsHigh':
      return { state: { ...state, at: 'fcsLow', fcs: byte << 8 } };
    case 'fcsLow':
      return { state: { ...state, at: 'end', fcs: state.fcs | byte } };
    case 'end':
      return closeFrame(state.packet, state.fcs, byte);
  }
}

function unescaped(packet: Uint8Array, at: number, byte: number): Step {
  const value = byte ^ escapeBit;
  if (value === frameFlag || value === escapeByte) return { state: filled(packet, at, value) };
  return { state: byte === frameFlag ? afterFlag : idle, damaged: true };
}

function filled(packet: Uint8Array, at: number, byte: number): DecoderState {
  packet[at] = byte;
  return at + 1 === packet.length ? { at: 'fcsHigh', packet, fcs: 0 } : { at: 'data', packet, filled: at + 1 };
}

/** Every frame has a flag of its own at its start, so after a valid one the line is idle: noise in between cannot be mistaken for a head.
 *  A flag that closes a damaged frame may be the start of the next. */
function closeFrame(packet: Uint8Array, fcs: number, byte: number): Step {
  if (byte !== frameFlag) return { state: idle, damaged: true };
  const good = checkSequence(concat(Uint8Array.of(serialRevision, packet.length), packet)) === fcs;
  return good ? { state: idle, packet } : { state: afterFlag, damaged: true };
}

function escaped(packet: Uint8Array): Uint8Array {
  return Uint8Array.from(
    [...packet].flatMap(byte => (byte === frameFlag || byte === escapeByte ? [escapeByte, byte ^ escapeBit] : [byte])),
  );
}

/** FCS: reflected CRC-16-CCITT (polynomial 8408), initial value FFFF, no final XOR (DSP0253 §7). */
export function checkSequence(bytes: Uint8Array): number {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x8408 : crc >>> 1;
  }
  return crc;
}
