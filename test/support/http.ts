import type { IncomingHttpHeaders } from 'node:http';
import { type RequestOptions, request } from 'node:https';

/** One HTTPS exchange with full control of headers, body and client certificate. */
export type Answer = {
  readonly status: number;
  readonly contentType: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly bytes: Buffer;
  readonly json: Readonly<Record<string, unknown>>;
};

export function exchange(url: string, options: RequestOptions & { readonly body?: string | Uint8Array } = {}): Promise<Answer> {
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method: body === undefined ? 'GET' : 'POST', agent: false, ...rest }, response => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const bytes = Buffer.concat(chunks);
        const text = bytes.toString();
        const contentType = response.headers['content-type'] ?? '';
        const json = text !== '' && contentType.includes('json') ? JSON.parse(text) : {};
        resolve({ status: response.statusCode ?? 0, contentType, headers: response.headers, text, bytes, json });
      });
      response.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** What a person, or a service, asks by token. @param body as JSON */
export const askAs = (
  server: { readonly url: string; readonly rootPem: string },
  token: string,
  method: string,
  path: string,
  body?: object,
) =>
  exchange(`${server.url}${path}`, {
    ca: server.rootPem,
    method,
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
