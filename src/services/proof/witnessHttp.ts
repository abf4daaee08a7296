import { readFileSync } from 'node:fs';
import { request as plainRequest } from 'node:http';
import { Agent, request } from 'node:https';
import { NusecError } from '../../errors.ts';

/** Sends checkpoints to an HTTPS endpoint. Plain HTTP is for this machine only. */

const timeoutMs = 10_000;
const maxAnswerBytes = 16 * 1024;
const loopback = new Set(['localhost', '127.0.0.1', '[::1]']);

export type Answer = { readonly status: number; readonly contentType: string; readonly body: string };
export type Endpoint = { send(method: 'POST' | 'PUT', url: string, body: string): Promise<Answer>; close(): void };

/** @throws NusecError BAD_REQUEST */
export function requireSecureUrl(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'https:' && !(protocol === 'http:' && loopback.has(hostname)))
    throw new NusecError('BAD_REQUEST', `a witness is reached by https, not ${protocol}//${hostname}`);
}

/** @param caFile PEM of what its certificate is issued by; the system's authorities when not given */
export function createEndpoint(caFile?: string): Endpoint {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ...(caFile !== undefined && { ca: readFileSync(caFile) }) });
  return {
    send(method, url, body) {
      requireSecureUrl(url);
      const isPlain = url.startsWith('http:');
      const headers = { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': Buffer.byteLength(body) };
      const { promise, resolve, reject } = Promise.withResolvers<Answer>();
      const options = { method, headers, signal: AbortSignal.timeout(timeoutMs) };
      const outgoing = isPlain ? plainRequest(url, options) : request(url, { ...options, agent });
      outgoing.on('error', reject);
      outgoing.on('response', response => {
        let text = '';
        response.setEncoding('utf8');
        response.on('error', reject);
        response.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > maxAnswerBytes) response.destroy(new Error(`the answer has more than ${maxAnswerBytes} bytes`));
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, contentType: (response.headers['content-type'] ?? '').toLowerCase(), body: text }),
        );
      });
      outgoing.end(body);
      return promise;
    },
    close: () => agent.destroy(),
  };
}
