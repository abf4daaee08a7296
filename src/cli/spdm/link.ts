import { connect, type Socket } from 'node:net';
import { utf8 } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import type { Link } from '../../spdm/requester/delivery.ts';
import {
  createEmulatorDecoder,
  type EmulatorFrame,
  emulatorCommand,
  emulatorTransport,
  encodeEmulatorFrame,
} from '../../spdm/transport/emulator.ts';
import { normalFrame, payloadOf, wireOf } from './framing.ts';
import type { CommonOptions } from './options.ts';

/** A link to a responder behind a socket: one frame for each frame. */

export type SocketLink = { readonly link: Link; close(): Promise<void> };

const timeoutMs = 20_000;
const testMessage = utf8('Client Hello!\0');

/** Connects and says hello. @throws LINK_FAILED, LINK_TIMEOUT */
export async function openLink({ host, port, transport }: CommonOptions): Promise<SocketLink> {
  const socket = connect({ host, port, noDelay: true });
  await connected(socket);
  const exchange = exchanger(socket);
  const number = emulatorTransport[transport];
  await exchange({ command: emulatorCommand.test, transport: number, payload: testMessage });
  return {
    link: async wire => wireOf(transport, (await exchange(normalFrame(transport, payloadOf(transport, wire)))).payload),
    close: async () => {
      await exchange({ command: emulatorCommand.shutdown, transport: number, payload: new Uint8Array() });
      socket.end();
    },
  };
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', cause => reject(new NusecError('LINK_FAILED', 'cannot connect', { cause })));
  });
}

/** One question at a time; whatever else arrives is an error. */
function exchanger(socket: Socket): (frame: EmulatorFrame) => Promise<EmulatorFrame> {
  const decoder = createEmulatorDecoder();
  let waiting: { resolve(frame: EmulatorFrame): void; reject(error: unknown): void } | undefined;
  const fail = (error: unknown): void => waiting?.reject(error);
  socket.on('data', bytes => {
    try {
      for (const frame of decoder.push(bytes)) waiting?.resolve(frame);
    } catch (error) {
      fail(error);
    }
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new NusecError('LINK_FAILED', 'connection closed')));
  return frame =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new NusecError('LINK_TIMEOUT', 'no answer')), timeoutMs);
      const settle =
        <Value>(done: (value: Value) => void) =>
        (value: Value): void => {
          clearTimeout(timer);
          waiting = undefined;
          done(value);
        };
      waiting = { resolve: settle(resolve), reject: settle(reject) };
      socket.write(encodeEmulatorFrame(frame));
    });
}
