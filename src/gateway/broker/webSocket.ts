import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import type { GatewayLimits } from './limits.ts';

/** MQTT over WebSocket (MQTT 3.1.1 §6) on a port that speaks HTTPS, for gateways that reach nothing else: the certificate is that of the TLS
 *  connection, the rights are the same. */

/** Sec-WebSocket-Protocol [MQTT-6.0.0-3]. */
const subprotocol = 'mqtt';

/** @param server which upgrades requests for `webSocketPath` only  @param onStream a connection; whether the peer may stay is decided there */
export function serveWebSockets(
  server: Server,
  limits: Pick<GatewayLimits, 'maxPacketBytes'>,
  onStream: (tls: TLSSocket, stream: Duplex) => Promise<void>,
): { close(): Promise<void> } {
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: limits.maxPacketBytes,
    handleProtocols: offered => offered.has(subprotocol) && subprotocol,
  });
  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map(name => name.trim());
    if (!offered.includes(subprotocol)) return void socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    sockets.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
      // [MQTT-6.0.0-1]: only binary frames; text ends the connection.
      webSocket.on('message', (_data, isBinary) => {
        if (!isBinary) webSocket.close(unsupportedData);
      });
      void onStream(request.socket as TLSSocket, createWebSocketStream(webSocket));
    });
  };
  server.on('upgrade', upgrade);
  return {
    async close() {
      server.removeListener('upgrade', upgrade);
      for (const webSocket of sockets.clients) webSocket.terminate();
      sockets.close();
    },
  };
}

/** Close code (RFC 6455 §7.4.1). */
const unsupportedData = 1003;
