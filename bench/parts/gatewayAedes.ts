import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { Aedes } from 'aedes';

/** Child process of gateway.ts: Aedes as it comes, behind mTLS. Arguments: files of key, certificate and client CAs. */

const [key, cert, ca] = process.argv.slice(2).map(file => readFileSync(file)) as [Buffer, Buffer, Buffer];
const aedes = new Aedes();
await aedes.listen();
const server = createServer(
  { key, cert, ca, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3', noDelay: true },
  aedes.handle,
);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
