import { createHash, randomUUID } from 'node:crypto';
import type { KurrentDBClient, ResolvedEvent } from '@kurrent/kurrentdb-client';
import { NusecError } from '../../errors.ts';
import type { LeaderSign } from '../port.ts';
import { damaged } from '../storeError.ts';
import { type Carrier, decodeCarrier, encodeCarrier } from './carrier.ts';
import type { CommitLog, LoggedCommit } from './commitLog.ts';
import type { Connection } from './connection.ts';
import { isPartsList, joinParts, maxAppendBytes, type PartsList, splitIntoParts } from './parts.ts';

/** The log in KurrentDB. A project called NAME has these streams:
 *
 *  NAME-log            one event per commit (carrier.ts), in the order that counts
 *  NAME-parts-UUID     pieces of a commit that is too large for one append; the event in NAME-log names them
 *  NAME-blob-SHA256    one blob
 *  NAME-lease          signs of life of the leader, the newest few
 *  NAME-trial          what is written to see whether anything can be written, the newest one */

/** One append and its answer. The server itself gives up after two seconds by default. */
const appendTimeoutMs = 2500;
const readTimeoutMs = 2500;
/** How long a commit whose fate is unknown is sent again or looked for. */
const patienceMs = 5000;
const retryPauseMs = 50;
/** Commits that a subscription holds before it lets the connection wait. */
const maxHeldCommits = 512;
const keptSigns = 8;

const commitType = 'nusec-commit';
const partsType = 'nusec-commit-parts';

/** @param name of the project: 1 to 64 letters, digits, dots and dashes */
export function kurrentCommitLog(connection: Connection, name: string): CommitLog {
  const { library } = connection;
  const logStream = `${name}-log`;
  let isEnding = false;
  const newest = (stream: string) =>
    connection.use(readTimeoutMs, async client => {
      const read = client.readStream(stream, { direction: 'backwards', fromRevision: 'end', maxCount: 1, ...connection.readOptions });
      return (await gather(read))[0];
    });
  const write = (stream: string, type: string, data: object, streamState: 'any' | 'no_stream' | bigint, id: string = randomUUID()) =>
    connection.use(appendTimeoutMs, client =>
      client.appendToStream(stream, library.jsonEvent({ id, type, data: data as Record<string, unknown> }), { streamState }),
    );
  const writeBytes = (stream: string, type: string, data: Uint8Array) =>
    connection.use(appendTimeoutMs, client =>
      client.appendToStream(stream, library.binaryEvent({ id: randomUUID(), type, data }), { streamState: 'any' }),
    );
  const readBytes = async (stream: string): Promise<Uint8Array[]> => {
    const events = await connection.use(readTimeoutMs, client => gather(client.readStream(stream, { ...connection.readOptions })));
    return typeof events === 'string' ? [] : events.map(({ event }) => event?.data as Uint8Array);
  };

  const decode = async ({ event }: ResolvedEvent): Promise<LoggedCommit> => {
    const where = `commit ${event?.revision} of the log`;
    if (event === undefined || (event.type !== commitType && event.type !== partsType)) throw damaged(`${where} is not of this project`);
    let data: unknown = event.data;
    if (isPartsList(data)) data = joinParts(await readBytes(data.parts), data, where);
    return { revision: Number(event.revision), id: event.id, commit: decodeCarrier(data, where) };
  };
  const head = async (): Promise<number> => {
    const last = await newest(logStream);
    return last === undefined || last === 'no stream' ? -1 : Number((last as ResolvedEvent).event?.revision ?? -1);
  };
  const read = async (from: number, limit: number): Promise<readonly LoggedCommit[]> => {
    const events = await connection.use(readTimeoutMs, client =>
      gather(client.readStream(logStream, { fromRevision: BigInt(from), maxCount: limit, ...connection.readOptions })),
    );
    if (typeof events === 'string') return [];
    const commits: LoggedCommit[] = [];
    for (const event of events) commits.push(await decode(event));
    return commits;
  };
  /** What stands behind a revision. @returns undefined when nothing does */
  const idBehind = async (expected: number): Promise<string | undefined> => {
    const events = await connection.use(readTimeoutMs, client =>
      gather(client.readStream(logStream, { fromRevision: BigInt(expected + 1), maxCount: 1, ...connection.readOptions })),
    );
    return typeof events === 'string' ? undefined : events[0]?.event?.id;
  };
  const prepare = async (id: string, data: object, isLarge: boolean): Promise<{ readonly type: string; readonly data: object }> => {
    const parts = isLarge ? splitIntoParts(data) : undefined;
    if (parts === undefined) return { type: commitType, data };
    const stream = `${name}-parts-${id}`;
    for (const part of parts) await writeBytes(stream, 'nusec-part', part);
    return { type: partsType, data: { parts: stream, count: parts.length, sha256: sha256Of(parts) } satisfies PartsList };
  };

  return {
    head,
    read,
    async append(expected, id, commit) {
      const untilMs = performance.now() + patienceMs;
      const event = await prepare(id, encodeCarrier(commit), mayBeLarge(commit));
      for (let isUnknown = false; ; isUnknown = true) {
        try {
          const answer = await write(logStream, event.type, event.data, expected === -1 ? 'no_stream' : BigInt(expected), id);
          const isPlain = typeof answer !== 'string' && answer.nextExpectedRevision === BigInt(expected + 1);
          // An earlier try may be what stands there.
          return isPlain || ((isUnknown || typeof answer !== 'string') && (await idBehind(expected)) === id);
        } catch (error) {
          if (isEnding || performance.now() > untilMs) throw error;
          await pause();
        }
      }
    },
    follow: (from, take, onEnd) =>
      followStream(connection, logStream, from, async events => take(await Promise.all(events.map(decode))), onEnd),
    async putBlob({ sha256, bytes }) {
      await writeBytes(`${name}-blob-${sha256}`, 'nusec-blob', bytes);
    },
    async blob(sha256) {
      const last = await newest(`${name}-blob-${sha256}`);
      return last === undefined || typeof last === 'string' ? undefined : (last.event?.data as unknown as Uint8Array);
    },
    async dropBlob(sha256) {
      await connection.use(appendTimeoutMs, client => client.deleteStream(`${name}-blob-${sha256}`, { expectedRevision: 'any' }));
    },
    lease: {
      async read() {
        const last = await newest(`${name}-lease`);
        return last === undefined || typeof last === 'string' ? undefined : (last.event?.data as unknown as LeaderSign);
      },
      async give(sign) {
        if (sign.count === 1) await keepNewest(connection, `${name}-lease`, keptSigns);
        await write(`${name}-lease`, 'nusec-sign', sign, 'any');
      },
    },
    async tryToWrite() {
      const stream = `${name}-trial`;
      const answer = await write(stream, 'nusec-trial', {}, 'any');
      if (answer === 'wrong revision' || answer === 'no stream')
        throw new NusecError('STORE_UNAVAILABLE', 'KurrentDB does not take a trial event');
      if (answer.nextExpectedRevision === 0n) await keepNewest(connection, stream, 1);
    },
    stopTrying() {
      isEnding = true;
    },
    close: connection.close,
  };
}

/** Three bytes of UTF-8 per character at most. */
const mayBeLarge = ({ appends }: Carrier): boolean =>
  appends.reduce((sum, { events }) => sum + events.reduce((own, { body }) => own + 3 * body.length + 512, 0), 0) > maxAppendBytes;

const pause = (): Promise<void> => new Promise(resolve => setTimeout(resolve, retryPauseMs));

const sha256Of = (parts: readonly Uint8Array[]): string => {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part);
  return digest.digest('hex');
};

async function gather(events: AsyncIterable<ResolvedEvent>): Promise<ResolvedEvent[]> {
  const gathered: ResolvedEvent[] = [];
  for await (const event of events) gathered.push(event);
  return gathered;
}

/** The server lets go of older events of the stream. */
async function keepNewest(connection: Connection, stream: string, maxCount: number): Promise<void> {
  await connection.use(appendTimeoutMs, client => client.setStreamMetadata(stream, { maxCount }));
}

/** Hands over the events of a stream as they come; while a batch is worked on, the next ones gather. */
function followStream(
  connection: Connection,
  stream: string,
  from: number,
  take: (events: readonly ResolvedEvent[]) => Promise<void>,
  onEnd: (error: unknown) => void,
): { close(): void } {
  const client = connection.client();
  const subscription = client.subscribeToStream(stream, { fromRevision: from === 0 ? 'start' : BigInt(from - 1) });
  let held: ResolvedEvent[] = [];
  let working = false;
  let ended = false;
  const end = (error: unknown, isBroken: boolean): void => {
    if (ended) return;
    ended = true;
    forget();
    if (isBroken) connection.failed(client);
    else void stop(subscription);
    onEnd(error);
  };
  // A client that is given up ends its streams without a word.
  const forget = connection.whenFailed(client, () => end(undefined, true));
  const work = async (): Promise<void> => {
    working = true;
    try {
      while (held.length > 0 && !ended) {
        const events = held;
        held = [];
        if (subscription.isPaused()) subscription.resume();
        await take(events);
      }
    } catch (error) {
      end(error, false);
    }
    working = false;
  };
  subscription.on('data', (event: ResolvedEvent) => {
    held.push(event);
    if (held.length >= maxHeldCommits) subscription.pause();
    if (!working) {
      working = true;
      setImmediate(() => void work());
    }
  });
  subscription.on('error', error => end(error, true));
  subscription.on('end', () => end(undefined, true));
  return {
    close() {
      ended = true;
      forget();
      void stop(subscription);
    },
  };
}

async function stop(subscription: ReturnType<KurrentDBClient['subscribeToStream']>): Promise<void> {
  subscription.on('error', () => undefined);
  await subscription.unsubscribe().catch(() => undefined);
}
