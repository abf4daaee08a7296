import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

/** A double of an S3 object store: it is none. It has the requests that our driver makes, one bucket, all in memory, with versions or without, and looks
 *  that a request is signed by the right access key; the signature itself it does not check. */

type Version = { readonly id: string; readonly bytes: Buffer; readonly etag: string; atMs: number };

export type S3Double = {
  readonly port: number;
  /** For a project of this name. */
  url(prefix: string): string;
  /** `ACCESS-KEY:SECRET` */
  readonly credentials: string;
  /** Everything that is kept under a key, older versions too, oldest first. */
  versions(key: string): readonly Buffer[];
  keys(): readonly string[];
  /** Behind everybody's back. */
  plant(key: string, bytes: Uint8Array): void;
  /** What becomes of the next put of a key that ends so: stored, and the connection breaks before the answer. */
  loseNextAnswer(ending: string): void;
  /** What another machine stores under a key as soon as one of its versions is deleted. */
  plantAfterDelete(key: string, bytes: Uint8Array): void;
  /** Makes everything under a key older. */
  age(key: string, ms: number): void;
  requests(): number;
  /** Takes everything and answers nothing: not at all, or not beyond the first bytes of an object. */
  silence(how: 'answers' | 'objects' | undefined): void;
  /** Answers so many requests with 503. */
  failNext(count: number): void;
  down(): void;
  up(): void;
  close(): Promise<void>;
};

const bucket = 'nusec';

export type S3DoubleOptions = {
  readonly versioned?: boolean;
  readonly ignoresConditions?: boolean;
  /** As Ceph 16: a tag matches without its quotes only. */
  readonly comparesUnquoted?: boolean;
  readonly host?: string;
  readonly port?: number;
  readonly accessKey?: string;
  /** PEM; then it listens with TLS. */
  readonly tls?: { readonly key: string; readonly cert: string };
};

export async function startS3Double(options: S3DoubleOptions = {}): Promise<S3Double> {
  const { versioned = true, ignoresConditions = false, comparesUnquoted = false, host = '127.0.0.1', accessKey = 'nusec-test' } = options;
  const objects = new Map<string, Version[]>();
  const sockets = new Set<Socket>();
  let [isDown, count, made, losing, failing] = [false, 0, 0, '', 0];
  let silenced: 'answers' | 'objects' | undefined;
  const planted = new Map<string, Uint8Array>();

  const newest = (key: string): Version | undefined => objects.get(key)?.at(-1);
  const store = (key: string, bytes: Buffer): Version => {
    made += 1;
    const version = {
      id: versioned ? `v${made}` : 'null',
      bytes,
      atMs: Date.now(),
      etag: `"${createHash('md5').update(bytes).digest('hex')}"`,
    };
    objects.set(key, [...(versioned ? (objects.get(key) ?? []) : []), version]);
    return version;
  };
  const isAllowed = (key: string, { headers }: IncomingMessage): boolean => {
    if (ignoresConditions) return true;
    const there = newest(key);
    if (headers['if-none-match'] === '*') return there === undefined;
    return headers['if-match'] === undefined || headers['if-match'] === (comparesUnquoted ? there?.etag.replaceAll('"', '') : there?.etag);
  };
  const put = async (key: string, request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const bytes = await bodyOf(request);
    if (!isAllowed(key, request)) return void refuse(response, 412, 'PreconditionFailed');
    const { etag } = store(key, bytes);
    if (losing !== '' && key.endsWith(losing)) {
      losing = '';
      return void request.socket.destroy();
    }
    response.writeHead(200, { ETag: etag }).end();
  };
  const get = (key: string, response: ServerResponse, withBody: boolean): void => {
    const found = newest(key);
    if (found === undefined) return void refuse(response, 404, 'NoSuchKey');
    response.writeHead(200, { ETag: found.etag, 'Content-Length': found.bytes.length });
    if (silenced === 'objects') response.write(found.bytes.subarray(0, 1));
    else response.end(withBody ? found.bytes : undefined);
  };
  const remove = (key: string, versionId: string | null, response: ServerResponse): void => {
    const left = (objects.get(key) ?? []).filter(({ id }) => id !== versionId);
    if (left.length === 0) objects.delete(key);
    else objects.set(key, left);
    const next = planted.get(key);
    planted.delete(key);
    if (next !== undefined) store(key, Buffer.from(next));
    response.writeHead(204).end();
  };
  const list = (query: URLSearchParams, response: ServerResponse): void => {
    const [prefix, after, limit] = [query.get('prefix') ?? '', query.get('start-after') ?? '', Number(query.get('max-keys') ?? 1000)];
    const keys = [...objects.keys()]
      .filter(key => key.startsWith(prefix) && key > after)
      .toSorted()
      .slice(0, limit);
    const timeOf = (key: string) => new Date(newest(key)?.atMs ?? 0).toISOString();
    const xml = keys.map(key => `<Contents><Key>${key}</Key><LastModified>${timeOf(key)}</LastModified></Contents>`);
    answerXml(response, 'ListBucketResult', xml.join(''));
  };
  const listVersions = (prefix: string, limit: number, response: ServerResponse): void => {
    const found = [...objects].filter(([key]) => key.startsWith(prefix)).toSorted(([one], [other]) => (one < other ? -1 : 1));
    const xml = found.flatMap(([key, versions]) =>
      versions
        .map(
          ({ id, etag }, i) =>
            `<Version><Key>${key}</Key><VersionId>${id}</VersionId><IsLatest>${i === versions.length - 1}</IsLatest><ETag>${etag.replaceAll('"', '&quot;')}</ETag></Version>`,
        )
        .toReversed(),
    );
    answerXml(response, 'ListVersionsResult', xml.slice(0, limit).join(''));
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (silenced === 'answers') return;
    if (failing > 0) {
      failing -= 1;
      return refuse(response, 503, 'SlowDown');
    }
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://double');
    const [, name, ...rest] = decodeURIComponent(pathname).split('/');
    const key = rest.join('/');
    const { authorization = '' } = request.headers;
    const signed =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/[a-z0-9-]+\/s3\/aws4_request, ?SignedHeaders=[^,]*host[^,]*, ?Signature=[0-9a-f]{64}$/;
    if (signed.exec(authorization)?.[1] !== accessKey || request.headers['x-amz-date'] === undefined)
      return refuse(response, 403, 'AccessDenied');
    if (name !== bucket) return refuse(response, 404, 'NoSuchBucket');
    if (request.method === 'PUT' && key === '') return refuse(response, 409, 'BucketAlreadyOwnedByYou');
    if (request.method === 'PUT') return put(key, request, response);
    if (request.method === 'DELETE') return remove(key, searchParams.get('versionId') ?? 'null', response);
    if (request.method === 'HEAD') return get(key, response, false);
    if (searchParams.has('versions')) return listVersions(searchParams.get('prefix') ?? '', Number(searchParams.get('max-keys')), response);
    return key === '' ? list(searchParams, response) : get(key, response, true);
  };
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    count += 1;
    void answer(request, response).catch(() => response.destroy());
  };
  const server = options.tls === undefined ? createServer(take) : createTlsServer(options.tls, take);
  server.on('connection', socket => {
    if (isDown) return void socket.destroy();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const cutAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  await new Promise<void>(resolve => server.listen(options.port ?? 0, host, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: prefix => `s3://${bucket}/${prefix}?endpoint=http://127.0.0.1:${port}`,
    credentials: `${accessKey}:secret`,
    versions: key => (objects.get(key) ?? []).map(({ bytes }) => bytes),
    keys: () => [...objects.keys()].toSorted(),
    plant: (key, bytes) => void store(key, Buffer.from(bytes)),
    loseNextAnswer(ending) {
      losing = ending;
    },
    plantAfterDelete: (key, bytes) => void planted.set(key, bytes),
    age(key, ms) {
      for (const version of objects.get(key) ?? []) version.atMs -= ms;
    },
    requests: () => count,
    failNext(times) {
      failing = times;
    },
    silence(how) {
      silenced = how;
    },
    down() {
      isDown = true;
      cutAll();
    },
    up() {
      isDown = false;
    },
    close() {
      cutAll();
      return new Promise(resolve => server.close(() => resolve()));
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function answerXml(response: ServerResponse, name: string, content: string): void {
  response
    .writeHead(200, { 'Content-Type': 'application/xml' })
    .end(`<?xml version="1.0" encoding="UTF-8"?>\n<${name}>${content}</${name}>`);
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'Content-Type': 'application/xml' });
  response.end(`<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>double</Message></Error>`);
}
