import { createBucket, tryTake } from './bucket.ts';
import type { ClientInternals, ParserInternals } from './internals.ts';
import type { GatewayLimits } from './limits.ts';
import { Cut } from './presence.ts';

const accepted = new Set(['connect', 'publish', 'puback', 'subscribe', 'unsubscribe', 'pingreq', 'disconnect']);

/** Bounds what a connection can make the server read: the size of each packet as soon as its length is known, the kinds of packet
 *  (nothing of QoS 2), and the rate of those that no hook sees. An exception in the parser ends the connection, not the process. */
export function guardParser(client: ClientInternals, limits: GatewayLimits, now: () => number): void {
  const parser = client._parser;
  const control = createBucket(limits.controlPacketsPerSecond, limits.controlPacketBurst, now());
  const parseLength = parser._parseLength.bind(parser);
  const parse = parser.parse.bind(parser);

  parser._parseLength = () => {
    if (!parseLength()) return false;
    const refusal = judgePacket(parser.packet, client.connackSent ? limits.maxPacketBytes : limits.maxPacketBytesBeforeConnack);
    if (refusal !== undefined) return refuse(parser, refusal);
    if (parser.packet.cmd === 'publish' || tryTake(control, now())) return true;
    return refuse(parser, new Cut('THROTTLED', 'too many packets'));
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

function judgePacket(packet: ParserInternals['packet'], maxBytes: number): Cut | undefined {
  if (packet.length > maxBytes) return new Cut('PACKET_TOO_LARGE', `packet of ${packet.length} bytes, at most ${maxBytes}`);
  if (!accepted.has(packet.cmd) || (packet.cmd === 'publish' && packet.qos > 1))
    return new Cut('FORBIDDEN', `${packet.cmd} with QoS ${packet.qos}`);
  return undefined;
}

function refuse(parser: ParserInternals, cut: Cut): false {
  parser._emitError(cut);
  return false;
}
