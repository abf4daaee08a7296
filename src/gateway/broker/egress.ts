import type { Duplex } from 'node:stream';
import { totalBytes } from '../../bytes.ts';
import { giveBack, joinInKept } from '../../keptMemory.ts';
import { cut, publishHead } from './farewell.ts';
import type { Payload, Qos } from './handler.ts';
import type { Gathered, Session } from './session.ts';

/** Fixed header, topic length and packet id, rounded up (MQTT 3.1.1 §3.3): what a message costs beside topic and payload. */
const packetOverheadBytes = 64;

/** Hands a message to a connection, straight and not by a topic: there stock Aedes drops each QoS 1 message that a QoS 0 one
 *  overtakes (its duplicate check wants rising numbers, lib/client.js dedupe).
 *  A client that does not take its messages is cut when too much is outstanding: it harms nobody else, and the memory is bounded.
 *  @returns true when the socket has taken it; false when the connection is gone */
export function send(session: Session, topic: string, payload: Payload, qos: Qos): Promise<boolean> {
  if (!session.isOnline || session.ending !== undefined) return Promise.resolve(false);
  const parts = payload instanceof Uint8Array ? [payload] : payload;
  const payloadBytes = totalBytes(parts);
  const costBytes = payloadBytes + topic.length + packetOverheadBytes;
  if (session.outstandingBytes + costBytes > session.share.maxOutstandingBytes) {
    cut(session, 'SLOW_CONSUMER', `${session.outstandingBytes} bytes outstanding`);
    return Promise.resolve(false);
  }
  session.outstandingBytes += costBytes;
  return new Promise(resolve => {
    const taken = (): void => {
      session.outstandingBytes -= costBytes;
      resolve(!session.client.closed && session.ending === undefined);
    };
    const head = publishHead(topic, payloadBytes, qos === 0 ? undefined : nextPacketId(session));
    write(session, { parts: [head, ...parts], given: payload instanceof Uint8Array ? [] : payload, taken });
  });
}

/** Acknowledges a message of QoS 1 in front of what is sent in this turn of the event loop. @param done called when the socket has taken it */
export function acknowledge(session: Session, messageId: number, done: () => void): void {
  write(session, { parts: [Buffer.from([0x40, 2, messageId >> 8, messageId & 0xff])], given: [], taken: done });
}

/** Identifiers of packets that have one (MQTT 3.1.1 §2.3.1): a PUBACK is only counted as a packet, so one may come again after the last one. */
function nextPacketId(session: Session): number {
  session.packetId = session.packetId === maxPacketId ? 1 : session.packetId + 1;
  return session.packetId;
}
const maxPacketId = 0xffff;

/** Straight to the socket, as the way through Aedes costs more than a block of firmware. What is sent in one turn of the event loop is put
 *  together and written as one: TLS copies several. Aedes waits for the socket, and cuts a client that takes nothing for too long. */
function write(session: Session, message: Gathered): void {
  const { gathered } = session;
  if (gathered.length === 0) process.nextTick(writeGathered, session);
  gathered.push(message);
}

function writeGathered({ socket, client, gathered }: Session): void {
  const messages = gathered.splice(0);
  // It may have been ended since.
  const isFull =
    socket.writable &&
    !writeJoined(
      socket,
      messages.flatMap(({ parts }) => parts),
    );
  // A device takes its time, and many take theirs at once.
  for (const { given } of messages) for (const part of given) if (part.length >= keptFromBytes) giveBack(part);
  const allTaken = (): void => {
    for (const { taken } of messages) taken();
  };
  if (isFull) client.waitForDrain(allTaken);
  else setImmediate(allTaken);
}

/** Shorter messages get memory of their own: a frozen client would hold a kept piece for each. */
const keptFromBytes = 8 * 1024;

/** @returns false when the socket has more to send than it should have */
function writeJoined(socket: Duplex, parts: readonly Uint8Array[]): boolean {
  if (totalBytes(parts) < keptFromBytes) return socket.write(Buffer.concat(parts));
  const { bytes, release } = joinInKept(parts);
  return socket.write(bytes, release);
}
