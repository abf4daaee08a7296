import { randomUUID } from 'node:crypto';
import type { KurrentDBClient, ResolvedEvent } from '@kurrent/kurrentdb-client';
import { sha256Hex } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import type { LeaderSign, ServerSign } from '../port.ts';
import { damaged } from '../storeError.ts';
import { type Carrier, decodeCarrier, encodeCarrier } from './carrier.ts';
import type { CommitLog, LoggedCommit } from './commitLog.ts';
import type { Connection } from './connection.ts';
import { isPartsList, joinParts, type PartsList, splitIntoParts } from './parts.ts';

/** The log in KurrentDB. A project called NAME has these streams:
 *
 *  NAME-log            one event per commit (carrier.ts), in the order that counts
 *  NAME-parts-UUID     pieces of a commit that is too large for one append; the event in NAME-log names them
 *  NAME-blob-SHA256    one blob
 *  NAME-lease          signs of life of the leader, the newest few
 *  NAME-servers        where each server process is reached by the others, the newest few hundred
 *  NAME-trial          what is written to see whether anything can be written, the newest one */

/** One append and its answer. The server itself gives up after two seconds by default. */
const appendTimeoutMs = 2500;
const readTimeoutMs = 2500;
/** Between two groups of a scan: the client hands over 64 events at a time, of up to 900 KiB each. */
const scanTimeoutMs = 10_000;
/** How long a commit whose fate is unknown is sent again or looked for. */
const patienceMs = 5000;
const retryPauseMs = 50;
/** Commits that a subscription holds before it lets the connection wait. */
const maxHeldCommits = 512;
/** Commits, and bytes of them, that a scan hands over together. */
const maxScannedCommits = 256;
const maxScannedBytes = 4 * 1024 * 1024;
const keptSigns = 8;
/** Of all server processes together: 64 of them give that many in eight seconds. */
const keptServerSigns = 256;

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
  const write = (stream: string, type: string, data: object) =>
    connection.use(appendTimeoutMs, client =>
      client.appendToStream(stream, library.jsonEvent({ id: randomUUID(), type, data: data as Record<string, unknown> }), {
        streamState: 'any',
      }),
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
    const data: unknown = event.data;
    const whole = isPartsList(data) ? joinParts(await readBytes(data.parts), data, where) : data;
    const text = whole instanceof Uint8Array ? Buffer.from(whole.buffer, whole.byteOffset, whole.length).toString() : JSON.stringify(whole);
    return { revision: Number(event.revision), id: event.id, commit: decodeCarrier(parse(text, where), text, where) };
  };
  const head = async (): Promise<number> => {
    const last = await newest(logStream);
    return last === undefined || last === 'no stream' ? -1 : Number((last as ResolvedEvent).event?.revision ?? -1);
  };
  const eventAt = async (revision: number): Promise<ResolvedEvent | undefined> => {
    const events = await connection.use(readTimeoutMs, client =>
      gather(client.readStream(logStream, { fromRevision: BigInt(revision), maxCount: 1, ...connection.readOptions })),
    );
    return typeof events === 'string' ? undefined : events[0];
  };
  const idBehind = async (expected: number): Promise<string | undefined> => (await eventAt(expected + 1))?.event?.id;
  const scan: CommitLog['scan'] = async (from, limit, take) => {
    let commits: LoggedCommit[] = [];
    let bytes = 0;
    const takeThem = async (): Promise<void> => {
      const taken = commits;
      commits = [];
      bytes = 0;
      if (taken.length > 0) await take(taken);
    };
    await connection.each(
      scanTimeoutMs,
      client => client.readStream(logStream, { fromRevision: BigInt(from), maxCount: limit, ...connection.readOptions }),
      async event => {
        commits.push(await decode(event));
        bytes += dataBytes(event);
        if (commits.length >= maxScannedCommits || bytes >= maxScannedBytes) await takeThem();
      },
    );
    await takeThem();
  };
  const tryToWrite = async (): Promise<void> => {
    const stream = `${name}-trial`;
    const answer = await write(stream, 'nusec-trial', {});
    if (answer === 'wrong revision' || answer === 'no stream')
      throw new NusecError('STORE_UNAVAILABLE', 'KurrentDB does not take a trial event');
    if (answer.nextExpectedRevision === 0n) await keepNewest(connection, stream, 1);
  };
  /** The event that stands for a commit in the log. */
  const prepare = async (id: string, commit: Carrier) => {
    const whole = encodeCarrier(commit);
    const parts = splitIntoParts(whole);
    if (parts === undefined) return library.binaryEvent({ id, type: commitType, data: whole });
    const stream = `${name}-parts-${id}`;
    for (const part of parts) await writeBytes(stream, 'nusec-part', part);
    return library.jsonEvent({
      id,
      type: partsType,
      data: { parts: stream, count: parts.length, sha256: sha256Hex(whole) } satisfies PartsList,
    });
  };

  return {
    head,
    async at(revision) {
      const event = await eventAt(revision);
      return event && decode(event);
    },
    scan,
    async append(expected, id, commit) {
      const untilMs = performance.now() + patienceMs;
      const event = await prepare(id, commit);
      const streamState = expected === -1 ? 'no_stream' : BigInt(expected);
      for (let isUnknown = false; ; isUnknown = true) {
        try {
          const answer = await connection.use(appendTimeoutMs, client => client.appendToStream(logStream, event, { streamState }));
          const isPlain = typeof answer !== 'string' && answer.nextExpectedRevision === BigInt(expected + 1);
          // It may be the result of an earlier try.
          return isPlain || ((isUnknown || typeof answer !== 'string') && (await idBehind(expected)) === id);
        } catch (error) {
          if (isEnding || performance.now() > untilMs) throw error;
          await pause();
        }
      }
    },
    follow(known, take, onEnd) {
      const takeNew = async (events: readonly ResolvedEvent[]): Promise<void> => {
        const fresh = events.filter(({ event }) => Number(event?.revision) > known());
        if (fresh.length > 0) await take(await Promise.all(fresh.map(decode)));
      };
      return followStream(connection, logStream, known() + 1, takeNew, onEnd);
    },
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
        const sign: unknown = last === undefined || typeof last === 'string' ? undefined : last.event?.data;
        return isLeaderSign(sign) ? sign : undefined;
      },
      async give(sign) {
        if (sign.count === 1) await keepNewest(connection, `${name}-lease`, keptSigns);
        await write(`${name}-lease`, 'nusec-sign', sign);
      },
      // One after the other: what KurrentDB was given before is written before.
      settle: tryToWrite,
    },
    servers: {
      async read() {
        const range = { direction: 'backwards', fromRevision: 'end', maxCount: keptServerSigns } as const;
        const read = (client: KurrentDBClient) => gather(client.readStream(`${name}-servers`, { ...range, ...connection.readOptions }));
        const events = await connection.use(readTimeoutMs, read);
        return typeof events === 'string'
          ? []
          : events
              .map(({ event }): unknown => event?.data)
              .filter(isServerSign)
              .toReversed();
      },
      async give(sign) {
        if (sign.count === 1) await keepNewest(connection, `${name}-servers`, keptServerSigns);
        await write(`${name}-servers`, 'nusec-server', sign);
      },
    },
    tryToWrite,
    stopTrying() {
      isEnding = true;
    },
    close: connection.close,
  };
}

/** Whoever can write to the database without our keys can write a sign that is none: it is passed over. */
function isLeaderSign(data: unknown): data is LeaderSign {
  const { epoch, count } = (data ?? {}) as Partial<LeaderSign>;
  return Number.isSafeInteger(epoch) && Number.isSafeInteger(count);
}

function isServerSign(data: unknown): data is ServerSign {
  const { id, host, port, count } = (data ?? {}) as Partial<ServerSign>;
  return typeof id === 'string' && typeof host === 'string' && Number.isSafeInteger(port) && Number.isSafeInteger(count);
}

const dataBytes = ({ event }: ResolvedEvent): number => (event?.data as Partial<Uint8Array> | undefined)?.length ?? 0;

const pause = (): Promise<void> => new Promise(resolve => setTimeout(resolve, retryPauseMs));

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw damaged(`${where} is not JSON`, error);
  }
}

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
