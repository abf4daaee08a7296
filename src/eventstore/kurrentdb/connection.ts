import { hostname } from 'node:os';
import type { KurrentDBClient } from '@kurrent/kurrentdb-client';
import { NusecError } from '../../errors.ts';
import { within } from '../../within.ts';
import { whyUnreached } from './whyUnreached.ts';

/** The connection to a KurrentDB (or EventStoreDB) server or cluster. A client that failed is replaced: one whose first read failed never reads
 *  again, and one that waits for a server that was stopped does not find the next. */

export type ConnectionOptions = {
  /** Connection string of the client: `kurrentdb://HOST:2113[,HOST…][?tls=false&tlsCaFile=FILE…]`; TLS by default. */
  readonly url: string;
  /** `user:password`; they go over TLS only. */
  readonly credentials?: string | undefined;
};

/** For the first answer of all a cluster is asked who leads it, and TLS begins with each server that is tried: on a busy machine that alone takes seconds. A
 *  server that is not there refuses at once. */
const firstAnswerMs = 10_000;

type Library = typeof import('@kurrent/kurrentdb-client');

/** What the server itself has answered, however little it is liked. Everything else says nothing about what was done. */
export type Refusal = 'wrong revision' | 'no stream';

export type Connection = {
  readonly library: Library;
  /** For reads: the part of the client that reads takes what is in the connection string as it is, without decoding it. */
  readonly readOptions: { readonly requiresLeader: true; readonly credentials?: Login };
  /** Works with the present client.
   *  @param timeoutMs after which an answer is not waited for any longer
   *  @returns what the work returns, or the server's refusal
   *  @throws NusecError STORE_UNAVAILABLE: no answer, and nobody knows whether it was done */
  use<Result>(timeoutMs: number, work: (client: KurrentDBClient) => Promise<Result>): Promise<Result | Refusal>;
  /** Works through what a read gives, one after the other. Each has to come in time; all together may take as long as they take.
   *  @param take its errors are the caller's, and it is not timed
   *  @returns the server's refusal, if there is one
   *  @throws NusecError STORE_UNAVAILABLE */
  each<Item>(
    timeoutMs: number,
    begin: (client: KurrentDBClient) => AsyncIterable<Item>,
    take: (item: Item) => Promise<void> | undefined,
  ): Promise<Refusal | undefined>;
  /** The client for a subscription. */
  client(): KurrentDBClient;
  /** The next one works with a new client. */
  failed(client: KurrentDBClient): void;
  /** Calls back when this client is given up. @returns what removes the callback */
  whenFailed(client: KurrentDBClient, tell: () => void): () => void;
  close(): Promise<void>;
};

/** @throws NusecError BAD_REQUEST (not a connection string, not TLS to another machine, the package is not installed) */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  const library = await import('@kurrent/kurrentdb-client').catch(cause => {
    throw new NusecError('BAD_REQUEST', 'the KurrentDB event store needs the optional npm package @kurrent/kurrentdb-client', { cause });
  });
  const url = connectionString(options);
  const login = loginOf(options);
  const open = (): KurrentDBClient => {
    try {
      return library.KurrentDBClient.connectionString(url);
    } catch {
      // The error of the library has the whole string in it, with the password.
      throw new NusecError(
        'BAD_REQUEST',
        'the address of the event store is not a connection string of KurrentDB, or its CA file is missing',
      );
    }
  };
  let client = open();
  let hasAnswered = false;
  const answeredIn = async <Result>(work: Promise<Result>, timeoutMs: number): Promise<Result> => {
    const result = await answered(work, hasAnswered ? timeoutMs : Math.max(timeoutMs, firstAnswerMs));
    hasAnswered = true;
    return result;
  };
  /** Of the present client. */
  const listeners = new Set<() => void>();
  const failed = (broken: KurrentDBClient): void => {
    if (broken !== client) return;
    client = open();
    const told = [...listeners];
    listeners.clear();
    for (const listener of told) listener();
    void end(broken);
  };
  /** @returns the refusal that an error stands for; otherwise the client is given up */
  const refused = async (used: KurrentDBClient, error: unknown): Promise<Refusal> => {
    const refusal = refusalOf(library, error);
    hasAnswered ||= refusal !== undefined;
    if (refusal !== undefined) return refusal;
    // The client goes to the leader by itself.
    if (!(error instanceof library.NotLeaderError)) failed(used);
    throw unavailable(library, error, hasAnswered ? undefined : await whyFirst(url, login));
  };
  return {
    library,
    readOptions: { requiresLeader: true, ...(login !== undefined && { credentials: login }) },
    client: () => client,
    failed,
    whenFailed(used, tell) {
      if (used === client) listeners.add(tell);
      else queueMicrotask(tell);
      return () => void listeners.delete(tell);
    },
    async use(timeoutMs, work) {
      const used = client;
      try {
        return await answeredIn(work(used), timeoutMs);
      } catch (error) {
        return await refused(used, error);
      }
    },
    async each(timeoutMs, begin, take) {
      const used = client;
      const items = begin(used)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await answeredIn(items.next(), timeoutMs).catch(error => refused(used, error));
          if (typeof next === 'string') return next;
          if (next.done === true) return undefined;
          await take(next.value);
        }
      } finally {
        void items.return?.();
      }
    },
    close: () => end(client),
  };
}

async function answered<Result>(work: Promise<Result>, timeoutMs: number): Promise<Result> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function refusalOf(library: Library, error: unknown): Refusal | undefined {
  if (error instanceof library.WrongExpectedVersionError) return 'wrong revision';
  if (error instanceof library.StreamNotFoundError || error instanceof library.StreamDeletedError) return 'no stream';
  return undefined;
}

/** gRPC statuses PERMISSION_DENIED and UNAUTHENTICATED. */
const deniedStatuses: readonly unknown[] = [7, 16];

const isDenied = (library: Library, error: unknown): boolean =>
  error instanceof library.AccessDeniedError || deniedStatuses.includes((error as { code?: unknown }).code);

/** @param reason why the first answer of all did not come, where that is known */
function unavailable(library: Library, error: unknown, reason?: string): NusecError {
  if (isDenied(library, error))
    return new NusecError(
      'STORE_UNAVAILABLE',
      'KurrentDB refuses the user or the password, or what this user may do: see docs/kurrentdb.md',
      {
        cause: error,
      },
    );
  const why = reason ?? (error as Error).message.split('\n')[0]?.slice(0, maxReasonChars);
  return new NusecError('STORE_UNAVAILABLE', `KurrentDB does not answer, so nothing is acknowledged (${why}); it is tried again`, {
    cause: error,
  });
}

const disposeMs = 1000;
const maxReasonChars = 120;

/** Closes the streams and the channel of a client. */
async function end(client: KurrentDBClient): Promise<void> {
  await within(client.dispose(), disposeMs).catch(() => undefined);
  // A channel that nobody closes keeps its connection, and the process, alive.
  const { getChannel } = client as unknown as { getChannel(): Promise<{ close(): void }> };
  await within(getChannel(), disposeMs).then(
    channel => channel?.close(),
    () => undefined,
  );
}

type Login = { readonly username: string; readonly password: string };

const encodedLogin = ({ username, password }: Login): string => `${encodeURIComponent(username)}:${encodeURIComponent(password)}`;

/** A password may have colons in it. */
function loginIn(credentials: string): Login {
  const colon = credentials.indexOf(':');
  return { username: credentials.slice(0, colon), password: credentials.slice(colon + 1) };
}

function loginOf({ url, credentials }: ConnectionOptions): Login | undefined {
  if (credentials !== undefined) return loginIn(credentials);
  const inUrl = url.match(/:\/\/([^@/?]*:[^@/?]*)@/)?.[1];
  if (inUrl === undefined) return undefined;
  const { username, password } = loginIn(inUrl);
  return { username: decodeURIComponent(username), password: decodeURIComponent(password) };
}

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?)(:\d+)?$/.test(host);

/** What is to be known of the server that is named first, over TLS. */
async function whyFirst(url: string, login: Login | undefined): Promise<string | undefined> {
  const { host, searchParams } = new URL(url.replace(/^[a-z+]+:\/\/(?:[^@/?]*@)?([^/?,]+)[^?]*/, 'https://$1/'));
  if (searchParams.get('tls') === 'false') return undefined;
  const { hostname, port } = new URL(`https://${host}`);
  const caFile = searchParams.get('tlsCaFile') ?? undefined;
  const reason = await whyUnreached({ host: hostname, port: Number(port === '' ? 2113 : port), caFile, login });
  return reason && `${host}: ${reason}`;
}

/** @throws NusecError BAD_REQUEST */
function connectionString({ url, credentials }: ConnectionOptions): string {
  const match = url.match(/^(?:kurrentdb|kurrent|kdb|esdb)(\+discover)?:\/\/(?:([^@/?]*)@)?([^/?]+)\/?(?:\?(.*))?$/);
  if (match === null) throw new NusecError('BAD_REQUEST', 'the address of the event store is kurrentdb://HOST:PORT, see docs/kurrentdb.md');
  const [, discover = '', ownCredentials, hosts = '', query = ''] = match;
  const isPlain = new URLSearchParams(query).get('tls') === 'false';
  if (isPlain && !hosts.split(',').every(isLoopback))
    throw new NusecError('BAD_REQUEST', 'the event store is on another machine, so it is reached over TLS only: leave out tls=false');
  const login = credentials === undefined ? ownCredentials : encodedLogin(loginIn(credentials));
  const named = new URLSearchParams(query);
  if (!named.has('connectionName')) named.set('connectionName', `nusec-${hostname()}-${process.pid}`);
  const isCluster = discover !== '' || hosts.includes(',');
  if (isCluster && !named.has('nodePreference')) named.set('nodePreference', 'leader');
  return `kurrentdb${discover}://${login === undefined ? '' : `${login}@`}${hosts}?${named.toString()}`;
}
