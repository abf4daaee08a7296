import { Agent, type RequestOptions, request } from 'node:https';
import type { SecureContext } from 'node:tls';
import { type ErrorCode, errorCodes, NusecError } from '../../src/errors.ts';

/** HTTPS to the server, for the command line (bearer token) and for machines (client certificate).
 *  TLS 1.3 only, the server's chain must end in the given root and carry the host's name (T14). */
export type HttpClientOptions = {
  readonly baseUrl: string;
  /** RootCA, PEM. Nothing else is trusted. */
  readonly ca: string;
  readonly token?: string;
  /** Client certificate chain and private key, PEM. */
  readonly cert?: string;
  readonly key?: string;
  /** Instead of `cert` and `key`: made by a KeyStore that does not give its key away. It carries the trusted root too. */
  readonly secureContext?: SecureContext;
};

export type HttpResponse = {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
};

export type HttpClient = {
  /** JSON in, JSON out. @throws NusecError with the server's code and detail; SERVER_UNREACHABLE when there is no answer */
  json<T = unknown>(method: string, path: string, body?: unknown): Promise<T>;
  /** Bytes in or out. */
  bytes(method: string, path: string, body?: Uint8Array, contentType?: string): Promise<Uint8Array>;
  close(): void;
};

/** Firmware bodies are the largest answers. */
const maxResponseBytes = 16 * 1024 * 1024;
const requestTimeoutMs = 30_000;
const maxSockets = 8;

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { ca, cert, key, secureContext } = options;
  const own = secureContext ? { secureContext } : cert && key && { cert, key };
  const agent = new Agent({ ca, ...own, minVersion: 'TLSv1.3', keepAlive: true, maxSockets });
  const base = new URL(options.baseUrl);
  const send = async (method: string, path: string, body?: Uint8Array | string, contentType?: string) => {
    const headers = {
      Accept: 'application/json, application/octet-stream',
      ...(options.token && { Authorization: `Bearer ${options.token}` }),
      ...(body !== undefined && { 'Content-Type': contentType ?? 'application/octet-stream', 'Content-Length': Buffer.byteLength(body) }),
    };
    const response = await exchange(new URL(path, base), { agent, method, headers }, body);
    if (response.status >= 400) throw problemError(response);
    return response;
  };
  return {
    async json<T>(method: string, path: string, body?: unknown) {
      const response = await send(method, path, body === undefined ? undefined : JSON.stringify(body), 'application/json');
      return (response.body.length === 0 ? undefined : JSON.parse(new TextDecoder().decode(response.body))) as T;
    },
    bytes: async (method, path, body, contentType) => (await send(method, path, body, contentType)).body,
    close: () => agent.destroy(),
  };
}

function exchange(url: URL, options: RequestOptions, body?: Uint8Array | string): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const unreachable = (cause: Error) =>
      reject(
        new NusecError(
          'SERVER_UNREACHABLE',
          `${url.origin}: ${cause.message}; is the server running and is its root certificate the right one?`,
          { cause },
        ),
      );
    const outgoing = request(url, { ...options, timeout: requestTimeoutMs }, response => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxResponseBytes) outgoing.destroy(new Error(`answer larger than ${maxResponseBytes} bytes`));
        else chunks.push(chunk);
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          contentType: response.headers['content-type'] ?? '',
          body: new Uint8Array(Buffer.concat(chunks)),
        }),
      );
      response.on('error', unreachable);
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${requestTimeoutMs} ms`)));
    outgoing.on('error', unreachable);
    outgoing.end(body);
  });
}

function problemError(response: HttpResponse): NusecError {
  const text = new TextDecoder().decode(response.body);
  const problem = response.contentType.startsWith('application/problem+json')
    ? (JSON.parse(text) as { code?: string; detail?: string; title?: string })
    : {};
  const code = errorCodes.find(known => known === problem.code) ?? ('INTERNAL' satisfies ErrorCode);
  return new NusecError(code, problem.detail ?? problem.title ?? `HTTP ${response.status}`);
}
