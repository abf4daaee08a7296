import { Agent, type RequestOptions, request } from 'node:https';
import type { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import type { SecureContext, TLSSocket } from 'node:tls';
import { type ErrorCode, errorCodes, NusecError } from '../../src/errors.ts';
import { fromPem } from '../../src/pki/pem.ts';
import type { TrustBundle } from '../../src/production/trustBundle.ts';
import { type FetchedBundle, fetchBundle } from './fetchBundle.ts';
import { checkServer, type ServerTrust, serverRefusal, UntrustedServer } from './serverCheck.ts';
import type { ServerTime } from './serverTime.ts';

/** HTTPS to the server, for the command line (bearer token) and for machines (client certificate). TLS 1.3 only. The server's chain must end in
 *  the given root, carry the host's name, and come from an issuing CA of servers that the trust bundle does not exclude (T14). */
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
  /** Every call of this client may be repeated without harm, as all calls of machines may. A call on a kept-alive connection that has ended goes out
   *  again immediately, on another connection. Default: only GET. */
  readonly isRepeatable?: boolean;
  /** For machines without a clock: certificates are judged by the time that the server reports, not by the clock of this machine. Asked for before the
   *  first request. */
  readonly serverTime?: ServerTime;
  /** The trust bundle at hand. Without one it is fetched before the first request, which then is the only thing that is sent. */
  readonly bundle?: TrustBundle | undefined;
  /** Keeps the newest bundle for later clients. @returns the newest of all that it has seen */
  readonly keepBundle?: (fetched: FetchedBundle) => TrustBundle;
};

export type HttpResponse = {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
};

/** What the server said instead of doing it. */
export class ServerRefusal extends NusecError {
  readonly status: number;

  constructor(code: ErrorCode, detail: string, status: number) {
    super(code, detail);
    this.status = status;
  }
}

export type HttpClient = {
  /** JSON in, JSON out. @param waits `long`: the server itself waits for somebody, up to five minutes
   *  @throws ServerRefusal with the server's code and detail; NusecError SERVER_UNREACHABLE when no answer comes that is the server's */
  json<T = unknown>(method: string, path: string, body?: unknown, waits?: 'long'): Promise<T>;
  /** Bytes in or out. */
  bytes(method: string, path: string, body?: Uint8Array, contentType?: string): Promise<Uint8Array>;
  /** Bytes as they come, of any length. @param open called again when the request goes out again @returns JSON */
  upload<T = unknown>(method: string, path: string, open: () => Readable, contentType: string): Promise<T>;
  /** A part of a file (RFC 9110 §14), from byte `first` to byte `last`. @param signal gives up, also in the middle
   *  @throws also NusecError SERVER_UNREACHABLE when another part comes, and when it was given up */
  range(path: string, first: number, last: number, signal?: AbortSignal): Promise<Uint8Array>;
  close(): void;
};

/** Bytes, or what opens them. */
type RequestBody = Uint8Array | string | (() => Readable);

/** Firmware bodies are the largest answers. */
const maxResponseBytes = 16 * 1024 * 1024;
const requestTimeoutMs = 30_000;
/** What is uploaded may take as long to judge: ten million UIDs. A device may be asked by three gateways, each three times. */
const longTimeoutMs = 300_000;
const maxSockets = 8;
/** A server that retires its issuing CA serves the trust bundle that excludes it a moment before its listeners have the new certificate. */
const certificateChangePausesMs = [100, 400, 1_200] as const;

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { ca, cert, key, secureContext, keepBundle = ({ bundle: only }) => only } = options;
  const roots = fromPem('CERTIFICATE', ca);
  const base = new URL(options.baseUrl);
  let { bundle } = options;
  const own = secureContext ? { secureContext } : cert && key && { cert, key };
  const { serverTime } = options;
  // Without a clock all that TLS would judge is judged by `checkServer`.
  const rejectUnauthorized = serverTime === undefined;
  const agent = new Agent({ ca, ...own, minVersion: 'TLSv1.3', keepAlive: true, maxSockets, rejectUnauthorized });
  const createConnection = agent.createConnection.bind(agent);
  const trust = (): ServerTrust => ({
    roots,
    bundle,
    ...(serverTime && { byServerTime: { nowMs: serverTime.nowMs(), host: base.hostname } }),
  });
  let sent: readonly Uint8Array[] = [];
  /** There are connections that were taken while no time was known, and whose dates nobody has judged. */
  let isUndated = false;
  agent.createConnection = (...given) =>
    checkServer(createConnection(...given) as TLSSocket, trust, certificates => {
      sent = certificates;
      isUndated ||= serverTime !== undefined && serverTime.nowMs() === undefined;
    });
  let fetching: Promise<void> | undefined;
  const fetchNewest = (): Promise<void> => {
    fetching ??= fetchTrustBundle(options.baseUrl, ca, roots, rejectUnauthorized)
      .then(fetched => {
        const known = keepBundle(fetched);
        if (bundle === undefined || known.version > bundle.version) bundle = known;
      })
      .catch(error => {
        fetching = undefined;
        throw error;
      });
    return fetching;
  };
  /** A connection that dies leaves the pool, so the pool has none left after as many attempts. */
  const askJudged = async (url: URL, wish: RequestOptions, body?: RequestBody): Promise<HttpResponse> => {
    const isRepeatable = options.isRepeatable === true || wish.method === 'GET';
    for (let attempt = 0; isRepeatable && attempt < maxSockets; attempt += 1) {
      const response = await exchange(url, wish, body).catch(unlessDead);
      if (response) return response;
    }
    return exchange(url, wish, body);
  };
  /** The connection is that of the server's key; its dates are judged by what comes over it. */
  const learnTime = async (time: ServerTime): Promise<void> => {
    const provenMs = (bundle?.issuedAtSeconds ?? 0) * 1000;
    const told = await askTime();
    const nowMs = told ?? time.assume(Date.now(), provenMs);
    try {
      judgeDates(nowMs);
    } catch (error) {
      if (told === undefined) time.forget();
      throw error;
    }
    if (told !== undefined) time.learn(told, provenMs);
  };
  const judgeDates = (nowMs: number): void => {
    const reason = serverRefusal(sent, { ...trust(), byServerTime: { nowMs, host: base.hostname } });
    if (reason !== undefined) {
      const cause = new UntrustedServer(reason);
      throw new NusecError('SERVER_UNREACHABLE', cause.message, { cause });
    }
    isUndated = false;
  };
  /** @returns undefined when the server has no such route, as an earlier version */
  const askTime = async (): Promise<number | undefined> => {
    const response = await askJudged(new URL('/v1/time', base), { agent, method: 'GET', timeout: requestTimeoutMs });
    if (response.status === 404 && isProblem(response)) return undefined;
    const told = Date.parse(String((jsonIn(succeeded(response)) as { now?: unknown }).now));
    if (Number.isNaN(told)) throw new NusecError('SERVER_UNREACHABLE', 'the server tells no time');
    return told;
  };
  const ask = async (...given: Parameters<typeof exchange>): Promise<HttpResponse> => {
    if (bundle === undefined) await fetchNewest();
    const judged = async (): Promise<HttpResponse> => {
      const nowMs = serverTime?.nowMs();
      if (serverTime && nowMs === undefined) await learnTime(serverTime);
      // Somebody else has learned it meanwhile, from another server.
      else if (nowMs !== undefined && isUndated) judgeDates(nowMs);
      return askJudged(...given);
    };
    for (const pauseMs of certificateChangePausesMs) {
      const response = await judged().catch(unlessUntrusted);
      if (response) return response;
      // Nothing was sent yet. The bundle at hand may be older than the issuing CA of the server, the time may be old too, or the server is just
      // changing its certificate.
      serverTime?.forget();
      if (fetching === undefined) await fetchNewest();
      else await setTimeout(pauseMs);
    }
    return judged();
  };
  const send = async (method: string, path: string, body?: RequestBody, contentType?: string, waits?: 'long'): Promise<HttpResponse> => {
    const isStream = typeof body === 'function';
    const headers = {
      ...headersOf(options),
      ...(body !== undefined && { 'Content-Type': contentType ?? 'application/octet-stream' }),
      ...(body !== undefined && !isStream && { 'Content-Length': Buffer.byteLength(body) }),
    };
    const wish = { agent, method, headers, timeout: isStream || waits === 'long' ? longTimeoutMs : requestTimeoutMs };
    return succeeded(await ask(new URL(path, base), wish, body), own !== undefined);
  };
  return {
    async json<T>(method: string, path: string, body?: unknown, waits?: 'long') {
      const response = await send(method, path, body === undefined ? undefined : JSON.stringify(body), 'application/json', waits);
      return (response.body.length === 0 ? undefined : jsonIn(response)) as T;
    },
    bytes: async (method, path, body, contentType) => (await send(method, path, body, contentType)).body,
    upload: async <T>(method: string, path: string, open: () => Readable, contentType: string) =>
      jsonIn(await send(method, path, open, contentType)) as T,
    async range(path, first, last, signal) {
      const headers = { ...headersOf(options), Range: `bytes=${first}-${last}` };
      const wish = { agent, method: 'GET', headers, timeout: requestTimeoutMs, ...(signal && { signal }) };
      const { status, body } = succeeded(await ask(new URL(path, base), wish));
      if (status !== 206 || body.length !== last - first + 1) throw new NusecError('SERVER_UNREACHABLE', 'another part of the file came');
      return body;
    },
    close: () => agent.destroy(),
  };
}

const headersOf = ({ token }: HttpClientOptions) => ({
  Accept: 'application/json, application/octet-stream',
  ...(token && { Authorization: `Bearer ${token}` }),
});

/** A kept-alive connection that ended before the first byte of the answer. */
class DeadConnection extends NusecError {}

function unlessDead(error: unknown): undefined {
  if (!(error instanceof DeadConnection)) throw error;
}

function unlessUntrusted(error: unknown): undefined {
  if (!((error as Error).cause instanceof UntrustedServer)) throw error;
}

/** The newest trust bundle that the given root leads to. The server is not judged yet, so nothing of ours is shown to it.
 *  @param ca RootCA, PEM @param roots the same or those it leads to, DER @param rejectUnauthorized false where there is no clock: the bundle counts
 *  by its signature, whoever relays it @throws NusecError SERVER_UNREACHABLE, COSE_SIGNATURE, COSE_MALFORMED, CBOR_MALFORMED, and what the server refuses */
export async function fetchTrustBundle(
  baseUrl: string,
  ca: string,
  roots = fromPem('CERTIFICATE', ca),
  rejectUnauthorized = true,
): Promise<FetchedBundle> {
  const agent = new Agent({ ca, minVersion: 'TLSv1.3', keepAlive: true, rejectUnauthorized });
  const get = async (path: string) =>
    succeeded(await exchange(new URL(path, baseUrl), { agent, method: 'GET', timeout: requestTimeoutMs })).body;
  return fetchBundle(get, roots).finally(() => agent.destroy());
}

/** TLS has judged the dates of the server by the clock of this machine. */
const ofDates: readonly unknown[] = ['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED'];
const hintFor = (cause: Error): string =>
  'code' in cause && ofDates.includes(cause.code)
    ? `is the clock of this machine right? It says ${new Date().toISOString()}`
    : 'is the server running and is its root certificate the right one?';

function exchange(url: URL, options: RequestOptions, body?: RequestBody): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    let isTimeout = false;
    let hasAnswer = false;
    const unreachable = (cause: Error): void => {
      const isDead = outgoing.reusedSocket && !hasAnswer && !isTimeout && options.signal?.aborted !== true;
      const Kind = isDead ? DeadConnection : NusecError;
      const hint = cause instanceof UntrustedServer ? '' : `; ${hintFor(cause)}`;
      reject(new Kind('SERVER_UNREACHABLE', `${url.origin}: ${cause.message}${hint}`, { cause }));
    };
    const outgoing = request(url, options, response => {
      hasAnswer = true;
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxResponseBytes) outgoing.destroy(new Error(`answer larger than ${maxResponseBytes} bytes`));
        else chunks.push(chunk);
      });
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          contentType: response.headers['content-type'] ?? '',
          body: new Uint8Array(Buffer.concat(chunks)),
        });
        // Answered before all was sent: the rest is of no use.
        if (!outgoing.writableFinished) outgoing.destroy();
      });
      response.on('error', unreachable);
    });
    outgoing.on('timeout', () => {
      isTimeout = true;
      outgoing.destroy(new Error(`no answer within ${options.timeout} ms`));
    });
    outgoing.on('error', unreachable);
    if (typeof body === 'function') body().on('error', unreachable).pipe(outgoing);
    else outgoing.end(body);
  });
}

/** @param isMachine software asks, not a person: what it asks for is fixed by its version
 *  @throws NusecError with the server's code and detail */
function succeeded(response: HttpResponse, isMachine = false): HttpResponse {
  if (response.status < 400) return response;
  const error = problemError(response);
  if (!isMachine || !(error instanceof ServerRefusal) || !isOfAnotherVersion(error)) throw error;
  throw new ServerRefusal(
    error.code,
    `${error.message}; this machine and the server are of different versions: bring both to the same`,
    error.status,
  );
}

/** A call, a field or a content type that the server does not have: a machine of its own version asks for none such. */
const isOfAnotherVersion = ({ code, message }: ServerRefusal): boolean =>
  code === 'METHOD_NOT_ALLOWED' ||
  code === 'MEDIA_TYPE' ||
  (code === 'NOT_FOUND' && message.startsWith('there is no /')) ||
  (code === 'BAD_REQUEST' && /Unrecognized key|received undefined/.test(message));

/** What is no problem document does not come from the server: a balancer without one, a portal in between. */
const isProblem = ({ contentType }: HttpResponse): boolean => contentType.startsWith('application/problem+json');

function problemError(response: HttpResponse): NusecError {
  if (!isProblem(response)) {
    return new NusecError('SERVER_UNREACHABLE', `HTTP ${response.status} instead of an answer of the server`);
  }
  const problem = jsonIn(response) as { code?: string; detail?: string; title?: string };
  const code = errorCodes.find(known => known === problem.code) ?? ('INTERNAL' satisfies ErrorCode);
  return new ServerRefusal(code, problem.detail ?? problem.title ?? `HTTP ${response.status}`, response.status);
}

/** @throws NusecError SERVER_UNREACHABLE when the answer is not one of our server */
function jsonIn({ body }: HttpResponse): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (cause) {
    throw new NusecError('SERVER_UNREACHABLE', 'the answer is not JSON', { cause });
  }
}
