import { cut, publishHead } from './farewell.ts';
import type { Payload, Qos } from './handler.ts';
import type { Session } from './session.ts';

/** Fixed header, topic length and packet id, rounded up (MQTT 3.1.1 §3.3): what a message costs beside topic and payload. */
const packetOverheadBytes = 64;

/** Hands a message to a connection, straight and not by a topic: there stock Aedes drops each QoS 1 message that a QoS 0 one
 *  overtakes (its duplicate check wants rising numbers, lib/client.js dedupe).
 *  A client that does not take its messages is cut when too much is outstanding: it harms nobody else, and the memory is bounded.
 *  @returns true when the socket has taken it; false when the connection is gone */
export function send(session: Session, topic: string, payload: Payload, qos: Qos): Promise<boolean> {
  if (!session.isOnline || session.ending !== undefined) return Promise.resolve(false);
  const parts = payload instanceof Uint8Array ? [payload] : payload;
  const payloadBytes = parts.reduce((sum, { length }) => sum + length, 0);
  const costBytes = payloadBytes + topic.length + packetOverheadBytes;
  if (session.outstandingBytes + costBytes > session.share.maxOutstandingBytes) {
    cut(session, 'SLOW_CONSUMER', `${session.outstandingBytes} bytes outstanding`);
    return Promise.resolve(false);
  }
  session.outstandingBytes += costBytes;
  return new Promise(resolve => {
    const taken = (): void => {
      session.outstandingBytes -= costBytes;
      resolve(!session.client.closed);
    };
    if (qos === 0) write(session, publishHead(topic, payloadBytes), parts, taken);
    else session.client.publish({ cmd: 'publish', topic, payload: Buffer.concat(parts), qos, retain: false, dup: false }, taken);
  });
}

/** With QoS 0, straight to the socket, as the way through Aedes costs more than a block of firmware; what is sent in one turn of the event loop is written
 *  together. Aedes waits for the socket, and cuts a client that takes nothing for too long. */
function write({ socket, client }: Session, head: Uint8Array, parts: readonly Uint8Array[], taken: () => void): void {
  socket.cork();
  let hasRoom = socket.write(head);
  for (const part of parts) hasRoom = socket.write(part);
  process.nextTick(() => socket.uncork());
  if (hasRoom) setImmediate(taken);
  else client.waitForDrain(taken);
}
