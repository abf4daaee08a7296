import { execFileSync } from 'node:child_process';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A system of somebody else that is told of events: a real HTTPS server with a certificate of its own, which checks signatures by itself. */

export type Received = {
  readonly id: string;
  readonly isSigned: boolean;
  readonly ageSeconds: number;
  readonly contentType: string;
  readonly event: { readonly type: string; readonly subject: string; readonly position: number; readonly [name: string]: unknown };
};
type Answer = { readonly status: number; readonly headers?: Record<string, string> };

export async function startWebhookReceiver() {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-receiver-'));
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const make =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=receiver -addext subjectAltName=DNS:localhost,IP:127.0.0.1';
  execFileSync('openssl', [...make.split(' '), '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
  const [key, certificate] = [readFileSync(keyFile, 'utf8'), readFileSync(certFile, 'utf8')];
  rmSync(folder, { recursive: true });
  const received: Received[] = [];
  let secret = '';
  let answer: (received: Received) => Answer = () => ({ status: 204 });
  const server = createServer({ key, cert: certificate }, (request, response) => {
    const chunks: Uint8Array[] = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      const { 'webhook-id': id = '', 'webhook-timestamp': at = '', 'webhook-signature': signature = '' } = request.headers;
      const own = createHmac('sha256', Buffer.from(secret.replace('whsec_', ''), 'base64'))
        .update(`${id}.${at}.${body}`)
        .digest();
      const signatures = String(signature).split(' ');
      const isSigned = signatures.some(one => {
        const given = Buffer.from(one.replace('v1,', ''), 'base64');
        return one.startsWith('v1,') && given.length === own.length && timingSafeEqual(given, own);
      });
      const one: Received = {
        ...{ id: String(id), isSigned, ageSeconds: Date.now() / 1000 - Number(at), contentType: String(request.headers['content-type']) },
        event: JSON.parse(body),
      };
      const { status, headers = {} } = answer(one);
      if (status < 300) received.push(one);
      response.writeHead(status, headers).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://localhost:${port}/in`,
    certificate,
    /** What was taken, in order. */
    received,
    useSecret(next: string) {
      secret = next;
    },
    answer(next: typeof answer) {
      answer = next;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
