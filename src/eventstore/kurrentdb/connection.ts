import { hostname } from 'node:os';
import type { KurrentDBClient } from '@kurrent/kurrentdb-client';
import { NusecError } from '../../errors.ts';
import { within } from '../../within.ts';

/** The connection to a KurrentDB (or EventStoreDB) server or cluster. A client that failed is replaced: one whose first read failed never reads
 *  again, and one that waits for a server that was stopped does not find the next. */

export type ConnectionOptions = {
  /** Connection string of the client: `kurrentdb://HOST:2113[,HOST…][?tls=false&tlsCaFile=FILE…]`; TLS by default. */
  readonly url: string;
  /** `user:password`; they go over TLS only. */
  readonly credentials?: string | undefined;
};

type Library = typeof import('@kurrent/kurrentdb-client');

/** What the server itself has answered, however little it is liked. Everything else says nothing about what was done. */
export type Refusal = 'wrong revision' | 'no stream';

export type Connection = {
  readonly library: Library;
  /** Works with the present client.
   *  @param timeoutMs after which an answer is not waited for any longer
   *  @returns what the work returns, or the server's refusal
   *  @throws NusecError STORE_UNAVAILABLE: no answer, and nobody knows whether it was done */
  use<Result>(timeoutMs: number, work: (client: KurrentDBClient) => Promise<Result>): Promise<Result | Refusal>;
  /** The client for a subscription. */
  client(): KurrentDBClient;
  /** The next one works with a new client. */
  failed(client: KurrentDBClient): void;
  /** To be told when this client is given up. @returns what forgets it */
  whenFailed(client: KurrentDBClient, tell: () => void): () => void;
  close(): Promise<void>;
};

/** @throws NusecError BAD_REQUEST (not a connection string, not TLS to another machine, the package is not installed) */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  const library = await import('@kurrent/kurrentdb-client').catch(cause => {
    throw new NusecError('BAD_REQUEST', 'the KurrentDB event store needs the optional npm package @kurrent/kurrentdb-client', { cause });
  });
  const url = connectionString(options);
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
  return {
    library,
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
        return await answered(work(used), timeoutMs);
      } catch (error) {
        const refusal = refusalOf(library, error);
        if (refusal !== undefined) return refusal;
        // The client goes to the leader by itself.
        if (!(error instanceof library.NotLeaderError)) failed(used);
        throw unavailable(library, error);
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

function unavailable(library: Library, error: unknown): NusecError {
  const isDenied = error instanceof library.AccessDeniedError;
  const why = isDenied ? 'it refuses the user name or the password, or what they may do' : (error as Error).message.split('\n')[0];
  return new NusecError('STORE_UNAVAILABLE', `KurrentDB: ${why}`, { cause: error });
}

const disposeMs = 1000;

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

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?)(:\d+)?$/.test(host);

/** @throws NusecError BAD_REQUEST */
function connectionString({ url, credentials }: ConnectionOptions): string {
  const match = url.match(/^(?:kurrentdb|kurrent|kdb|esdb)(\+discover)?:\/\/(?:([^@/?]*)@)?([^/?]+)\/?(?:\?(.*))?$/);
  if (match === null) throw new NusecError('BAD_REQUEST', 'the address of the event store is kurrentdb://HOST:PORT, see docs/kurrentdb.md');
  const [, discover = '', ownCredentials, hosts = '', query = ''] = match;
  const isPlain = new URLSearchParams(query).get('tls') === 'false';
  if (isPlain && !hosts.split(',').every(isLoopback))
    throw new NusecError('BAD_REQUEST', 'the event store is on another machine, so it is reached over TLS only: leave out tls=false');
  const login = credentials === undefined ? ownCredentials : credentials.split(':').map(encodeURIComponent).join(':');
  const named = new URLSearchParams(query);
  if (!named.has('connectionName')) named.set('connectionName', `nusec-${hostname()}-${process.pid}`);
  return `kurrentdb${discover}://${login === undefined ? '' : `${login}@`}${hosts}?${named.toString()}`;
}
