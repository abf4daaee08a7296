import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { NusecError } from '../errors.ts';
import type { Context } from '../services/context.ts';
import { currentCrl } from '../services/revocations.ts';
import type { TlsIdentity } from '../services/serverCertificate.ts';
import type { Api } from './app.ts';

/** The listening sockets of the API: HTTPS with optional client certificates, and plain HTTP for CRLs and nothing else. */

const headersTimeoutMs = 10_000;
const requestTimeoutMs = 60_000;
const maxHeaderBytes = 16 * 1024;

/** TLS 1.3 only. A client certificate is asked for and judged per route, so that people come in without one and every refusal has a code. */
export function createApiServer(api: Api, tls: TlsIdentity) {
  const server = createHttpsServer(
    {
      key: tls.key,
      cert: tls.cert,
      ca: tls.rootPem,
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: false,
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      noDelay: true,
    },
    getRequestListener(api.fetch),
  );
  return server;
}

const crlPath = /^\/crl\/([a-z0-9][a-z0-9._-]{0,127})\.crl$/;

/** `GET /crl/{icaId}.crl` (RFC 5280 §4.2.1.13: application/pkix-crl), and `/healthz` for health checks without TLS. */
export function createCrlServer(ctx: Context): Server {
  return createHttpServer(
    { maxHeaderSize: maxHeaderBytes, headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs },
    (request, response) => {
      if (request.url === '/healthz') return void response.writeHead(200, { 'Content-Type': 'text/plain' }).end('ok');
      const icaId = crlPath.exec(request.url ?? '')?.[1];
      if (icaId === undefined || request.method !== 'GET') return void response.writeHead(404).end();
      currentCrl(ctx, icaId).then(
        der => response.writeHead(200, { 'Content-Type': 'application/pkix-crl', 'Content-Length': der.length }).end(der),
        error => response.writeHead(error instanceof NusecError && error.code === 'NOT_FOUND' ? 404 : 503).end(),
      );
    },
  );
}

/** @returns the port listened on */
export function listen(server: NetServer, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}

export function closeServer(server: Server | ReturnType<typeof createApiServer>): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
