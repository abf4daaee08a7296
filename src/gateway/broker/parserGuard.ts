import { createBucket, tryTake } from './bucket.ts';
import type { ClientInternals, ParserInternals } from './internals.ts';
import type { GatewayLimits } from './limits.ts';
import { Cut } from './presence.ts';

/** `pubrel` ends a QoS 2 message that was refused (`acknowledge`). */
const accepted = new Set(['connect', 'publish', 'puback', 'pubrel', 'subscribe', 'unsubscribe', 'pingreq', 'disconnect']);

/** The most that Aedes takes; topics of fewer levels are judged with the rights of the connection. */
export const maxTopicLevels = 100;

/** Bounds what a connection can make the server read: the size of each packet as soon as its length is known, the kinds of packet
 *  (nothing of QoS 2), and the rate of those that no hook sees. An exception in the parser ends the connection, not the process. */
export function guardParser(client: ClientInternals, limits: GatewayLimits, now: () => number): void {
  const parser = client._parser;
  const control = createBucket(limits.controlPacketsPerSecond, limits.controlPacketBurst, now());
  const parseLength = parser._parseLength.bind(parser);
  const newPacket = parser._newPacket.bind(parser);
  const parse = parser.parse.bind(parser);

  parser._parseLength = () => {
    if (!parseLength()) return false;
    const refusal = judgePacket(parser.packet, limits, client.connackSent);
    if (refusal !== undefined) {
      if (client.connackSent) acknowledge(client);
      return refuse(parser, refusal);
    }
    if (parser.packet.cmd === 'publish' || tryTake(control, now())) return true;
    return refuse(parser, new Cut('THROTTLED', 'too many packets'));
  };
  parser._newPacket = () => {
    const refusal = judgeWhole(parser.packet, limits.maxFiltersPerSubscribe);
    if (refusal === undefined) return newPacket();
    const { cmd, qos, messageId = 0 } = parser.packet;
    if (cmd === 'publish' && qos === 1 && messageId > 0) client.conn.write(Buffer.from([0x40, 2, messageId >> 8, messageId & 0xff]));
    return refuse(parser, refusal);
  };
  parser.parse = bytes => {
    try {
      return parse(bytes);
    } catch (error) {
      client.emit('error', new Cut('FORBIDDEN', `packet not understood: ${(error as Error).message}`));
      return 0;
    }
  };
}

function judgePacket(packet: ParserInternals['packet'], limits: GatewayLimits, isConnected: boolean): Cut | undefined {
  const maxBytes = isConnected ? limits.maxPacketBytes : limits.maxPacketBytesBeforeConnack;
  if (packet.length > maxBytes) return new Cut('PACKET_TOO_LARGE', `packet of ${packet.length} bytes, at most ${maxBytes}`);
  // [MQTT-3.1.0-2]
  if (packet.cmd === 'connect' && isConnected) return new Cut('FORBIDDEN', 'a second CONNECT');
  if (!accepted.has(packet.cmd) || (packet.cmd === 'publish' && packet.qos > 1))
    return new Cut('FORBIDDEN', `${packet.cmd} with QoS ${packet.qos}`);
  const exactBytes = bodyBytes[packet.cmd];
  if (exactBytes !== undefined && packet.length !== exactBytes)
    return new Cut('FORBIDDEN', `${packet.cmd} of ${packet.length} bytes behind its header, not ${exactBytes}`);
  return undefined;
}

/** Packets whose length is fixed (MQTT 3.1.1 §3.4, §3.12, §3.14). */
const bodyBytes: Readonly<Record<string, number>> = { puback: 2, pingreq: 0, disconnect: 0 };

/** [MQTT-2.3.1-1] a packet identifier is never 0; [MQTT-3.3.1-2] QoS 0 has no DUP. */
function judgeWhole(
  { cmd, qos, dup, messageId, topic = '', subscriptions }: ParserInternals['packet'],
  maxFilters: number,
): Cut | undefined {
  if (messageId === 0) return new Cut('FORBIDDEN', `${cmd} with packet identifier 0`);
  if (cmd === 'publish' && qos === 0 && dup) return new Cut('FORBIDDEN', 'DUP with QoS 0');
  // [MQTT-3.3.2-2], [MQTT-4.7.3-1]
  if (cmd === 'publish' && (topic === '' || /[+#]/.test(topic))) return new Cut('FORBIDDEN', 'not a topic to publish on');
  if (cmd === 'publish' && topic.split('/').length > maxTopicLevels) return new Cut('FORBIDDEN', 'topic has too many levels');
  if ((subscriptions?.length ?? 0) > maxFilters) return new Cut('FORBIDDEN', `more than ${maxFilters} filters in one SUBSCRIBE`);
  return undefined;
}

/** PUBACK and PUBREC (MQTT 3.1.1 §3.4, §3.5). */
const acknowledgements: Readonly<Record<number, number>> = { 1: 0x40, 2: 0x50 };

/** A message that is too large, or has QoS 2, can never be accepted: without an acknowledgement a client would send it again on every connection. Its
 *  packet identifier stands behind the topic (§3.3.2), if that has come already. */
function acknowledge({ _parser: { packet, _list: list }, conn }: ClientInternals): void {
  const head = packet.cmd === 'publish' ? acknowledgements[packet.qos] : undefined;
  if (head === undefined || list.length < 2) return;
  const at = 2 + list.readUInt16BE(0);
  if (list.length >= at + 2) conn.write(Buffer.from([head, 2, list.readUInt8(at), list.readUInt8(at + 1)]));
}

function refuse(parser: ParserInternals, cut: Cut): false {
  parser._emitError(cut);
  return false;
}
