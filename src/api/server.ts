import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import { getRequestListener } from '@hono/node-server';
import { tlsVersions } from '../listening.ts';
import { webSocketPath } from '../mqttTopics.ts';
import type { Context } from '../services/base/context.ts';
import type { TlsIdentity } from '../services/identity/serverCertificate.ts';
import type { Ocsp } from '../services/revocation/ocsp.ts';
import { serveCrl } from './crl.ts';
import { isTaken } from './methods.ts';
import { serveOcsp } from './ocsp.ts';
import type { Api } from './resource.ts';
import { ApiResponse } from './response.ts';

/** The listening sockets of the API: HTTPS with optional client certificates, and plain HTTP for CRLs and OCSP and nothing else. */

const headersTimeoutMs = 10_000;
/** How often it is looked for requests that are beyond their time: Node looks every 30 s, so that half a request would be kept for 40. */
const lookEveryMs = 2_000;
/** Of a whole request: half a gigabyte of UIDs over a slow line. Who only holds connections is bounded by their number. */
const requestTimeoutMs = 300_000;
const maxHeaderBytes = 16 * 1024;
/** Of requests on both sockets. */
const requestLimits = {
  maxHeaderSize: maxHeaderBytes,
  headersTimeout: headersTimeoutMs,
  requestTimeout: requestTimeoutMs,
  connectionsCheckingInterval: lookEveryMs,
};
const handshakeTimeoutMs = 10_000;
/** Longer than a machine pauses between two calls, such as between two units. */
const keepAliveTimeoutMs = 75_000;
/** Of sessions that machines resume, the same in every process. */
const sessionIdContext = 'nusec-https';
/** ALPN (RFC 7301 §6): an old client that offers only HTTP/1.0 gets it. */
const protocols = ['http/1.1', 'http/1.0'];

/** TLS 1.3, or from 1.2 on where that is allowed. A client certificate is asked for and judged per route, so that people come in without one and every refusal has a code. */
export function createApiServer(api: Api, tls: TlsIdentity, allowTls12 = false) {
  const server = createHttpsServer(
    {
      ServerResponse: ApiResponse,
      ...secureContextOf(tls, allowTls12),
      ALPNProtocols: protocols,
      requestCert: true,
      rejectUnauthorized: false,
      ...requestLimits,
      handshakeTimeout: handshakeTimeoutMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      noDelay: true,
      // All others are requests, whatever they want to upgrade to.
      shouldUpgradeCallback: ({ url, headers }) => url === webSocketPath && headers.upgrade?.toLowerCase() === 'websocket',
    },
    // HTTP/1.0 knows no Host.
    getRequestListener(api.fetch, { hostname: 'localhost' }),
  );
  return server;
}

const secureContextOf = ({ key, cert, clientRootsPem: ca }: TlsIdentity, allowTls12: boolean): SecureContextOptions => ({
  // Without a certificate every handshake fails, until there is one.
  ...(cert !== '' && { key, cert }),
  ca,
  ...tlsVersions(allowTls12),
  sessionIdContext,
});

/** Another identity for new connections. */
export function renewTls(server: ReturnType<typeof createApiServer>, tls: TlsIdentity, allowTls12: boolean): void {
  server.setSecureContext(secureContextOf(tls, allowTls12));
}

/** `/crl/{icaId}.crl`, `/delta/{icaId}.crl`, `/ocsp`, all signed and therefore in plain HTTP (RFC 5280 §8), and `/healthz` for health checks. */
export function createCrlServer(ctx: Context, ocsp: Ocsp): Server {
  return createHttpServer(requestLimits, (request, response) => {
    if (request.url === '/healthz') {
      if (isTaken(request, response, 'GET')) response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 2 }).end('ok');
      return;
    }
    if (serveCrl(ctx, request, response) || serveOcsp(ocsp, request, response)) return;
    response.writeHead(404).end();
  });
}

export function closeServer(server: Server | ReturnType<typeof createApiServer>): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
