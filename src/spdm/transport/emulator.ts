import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';

/** The socket framing that other SPDM emulators and validators use: three big-endian u32, command | transport | size, then the payload. */

/** `updateSendingKey` asks the responder for new keys of its own, as if it had decided so; `askEndpointInfo` to ask the requester what kind of device it is. */
export const emulatorCommand = {
  normal: 0x0001,
  test: 0xdead,
  shutdown: 0xfffe,
  continue: 0xfffd,
  updateSendingKey: 0x8001,
  askEndpointInfo: 0x8002,
} as const;
export const emulatorTransport = { none: 0, mctp: 1, doe: 2, tcp: 3 } as const;

export type EmulatorFrame = { readonly command: number; readonly transport: number; readonly payload: Uint8Array };

const headBytes = 12;
/** Largest payload that is accepted. */
export const maxEmulatorPayloadBytes = 256 * 1024;

export function encodeEmulatorFrame({ command, transport, payload }: EmulatorFrame): Uint8Array {
  const head = new Uint8Array(headBytes);
  const view = new DataView(head.buffer);
  view.setUint32(0, command);
  view.setUint32(4, transport);
  view.setUint32(8, payload.length);
  return concat(head, payload);
}

export type EmulatorDecoder = {
  /** @returns the frames completed by these bytes  @throws SPDM_MALFORMED for a payload above the limit; the connection is then to be closed */
  push(bytes: Uint8Array): readonly EmulatorFrame[];
};

/** Cuts a byte stream into frames. */
export function createEmulatorDecoder(): EmulatorDecoder {
  let pending: Uint8Array = new Uint8Array();
  return {
    push: bytes => {
      pending = concat(pending, bytes);
      const frames: EmulatorFrame[] = [];
      for (let frame = firstFrame(pending); frame; frame = firstFrame(pending)) {
        frames.push(frame);
        pending = pending.slice(headBytes + frame.payload.length);
      }
      return frames;
    },
  };
}

function firstFrame(bytes: Uint8Array): EmulatorFrame | undefined {
  if (bytes.length < headBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(8);
  if (size > maxEmulatorPayloadBytes) throw new NusecError('SPDM_MALFORMED', 'emulator frame too long');
  if (bytes.length < headBytes + size) return undefined;
  return { command: view.getUint32(0), transport: view.getUint32(4), payload: bytes.slice(headBytes, headBytes + size) };
}
