import type { Duplex } from 'node:stream';
import { encodeCbor } from '../../cbor/encode.ts';
import type { ErrorCode } from '../../errors.ts';
import { errorKey } from '../../mqttTopics.ts';
import type { PresenceReason } from './presence.ts';
import { markEnding, type Session } from './session.ts';
import { downTopic } from './topics.ts';

/** The last word to a client that is being cut: a standard client must see more than a closed socket. Before CONNACK it is a CONNACK with a return
 *  code, after it a message on `…/dn/err`. */

/** CONNACK return codes (MQTT 3.1.1 §3.2.2.3) and the reason codes that mean the same to a client of MQTT 5 (MQTT 5 §3.2.2.2). */
const connackCodes = {
  version: { v3: 1, v5: 0x84 },
  identifier: { v3: 2, v5: 0x85 },
  unavailable: { v3: 3, v5: 0x88 },
  throttled: { v3: 3, v5: 0x9f },
  notAuthorized: { v3: 5, v5: 0x87 },
} as const;

export type ConnackRefusal = keyof typeof connackCodes;

const mqtt5 = 5;

/** A CONNACK that refuses, in the format of the client's own version: one of MQTT 5 has a length of properties, 0, behind its code. */
export function refusingConnack(refusal: ConnackRefusal, protocolVersion: number | undefined): Buffer {
  const { v3, v5 } = connackCodes[refusal];
  return protocolVersion === mqtt5 ? Buffer.from([0x20, 3, 0, v5, 0]) : Buffer.from([0x20, 2, 0, v3]);
}

/** What `…/dn/err` says when the connection itself ends; nothing for what the client did or cannot hear. */
const codes: Partial<Record<PresenceReason, ErrorCode>> = {
  DUPLICATE_CLIENTID: 'CONFLICT',
  FORBIDDEN: 'BAD_REQUEST',
  THROTTLED: 'RATE_LIMITED',
  REVOKED: 'CERTIFICATE_REVOKED',
  AUTH_ERROR: 'CLIENT_CERTIFICATE_REFUSED',
  PACKET_TOO_LARGE: 'PACKET_TOO_LARGE',
};

/** Who has this much unread reads no last word either. */
const maxUnsentBytes = 16 * 1024;

/** Writes why the connection ends, to a client that is online. QoS 0: nobody waits for an acknowledgement. */
export function sayWhy({ socket, identity, isOnline }: Session, reason: PresenceReason, text: string): void {
  const code = codes[reason];
  if (code === undefined || !isOnline || !socket.writable || socket.writableLength > maxUnsentBytes) return;
  const uid = identity.kind === 'device' ? identity.uid : '';
  const payload = encodeCbor(
    new Map([
      [errorKey.code, code],
      [errorKey.text, text],
    ]),
  );
  const topic = downTopic(identity, uid, 'err');
  socket.write(Buffer.concat([publishHead(topic, payload.length), payload]));
}

/** What stands before the payload of a PUBLISH (MQTT 3.1.1 §3.3): header, remaining length in groups of seven bits, topic, and with QoS 1 the packet id.
 *  @param packetId 1 to 65535; without it the message has QoS 0 */
export function publishHead(topic: string, payloadBytes: number, packetId?: number): Buffer {
  const nameBytes = Buffer.byteLength(topic);
  const idBytes = packetId === undefined ? 0 : 2;
  const head = Buffer.allocUnsafe(1 + maxLengthBytes + 2 + nameBytes + idBytes);
  head[0] = packetId === undefined ? 0x30 : 0x32;
  let end = 1;
  for (let rest = 2 + nameBytes + idBytes + payloadBytes; ; rest >>= 7) {
    head[end++] = rest < 128 ? rest : (rest & 127) | 128;
    if (rest < 128) break;
  }
  end = head.writeUInt16BE(nameBytes, end);
  end += head.write(topic, end);
  if (packetId !== undefined) end = head.writeUInt16BE(packetId, end);
  return head.subarray(0, end);
}

/** Ends a connection so that what was written still arrives: nothing more is read, and the socket closes when the client has closed or after
 *  `graceMs`. Reading into the void keeps a reset from overtaking the last message. */
export function endGently(socket: Duplex, graceMs: number): void {
  socket.removeAllListeners('readable');
  socket.resume();
  socket.end();
  setTimeout(() => socket.destroy(), graceMs).unref();
}

/** Ends the connection immediately, after a last message; unsent messages are lost. */
export function cut(session: Session, reason: PresenceReason, detail: string): void {
  if (session.ending === undefined) sayWhy(session, reason, detail);
  markEnding(session, reason, detail);
  session.socket.destroy();
}

const connectType = 1;
const maxLengthBytes = 4;
/** The protocol name, `MQTT` behind its length (MQTT 3.1.1 §3.1.2.1); the protocol level follows. */
const nameBytes = 2 + 4;

/** Answers the CONNECT of a client that is refused for its certificate, and ends. Until the CONNECT is there, or `timeoutMs` is over, it waits.
 *  @param refusal what the CONNACK says  @param graceMs as `endGently` */
export function refuseAtConnect(
  socket: Duplex,
  refusal: ConnackRefusal,
  { timeoutMs, graceMs }: { timeoutMs: number; graceMs: number },
): void {
  let bytes: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  timer.unref();
  const answer = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const level = levelOf(bytes);
    if (level === 'more') return;
    clearTimeout(timer);
    if (level === 'none') return void socket.destroy();
    socket.write(refusingConnack(refusal, level));
    endGently(socket, graceMs);
  };
  socket.once('close', () => clearTimeout(timer));
  socket.on('readable', answer);
  answer();
}

/** The protocol level of a CONNECT; `more` while it is not there yet, `none` when it is no CONNECT. */
function levelOf(bytes: Buffer): number | 'more' | 'none' {
  if (bytes.length > 0 && (bytes[0] as number) >> 4 !== connectType) return 'none';
  const lengthEnd = bytes.subarray(1, 1 + maxLengthBytes).findIndex(byte => byte < 128);
  if (lengthEnd < 0) return bytes.length > maxLengthBytes ? 'none' : 'more';
  return bytes[2 + lengthEnd + nameBytes] ?? 'more';
}
