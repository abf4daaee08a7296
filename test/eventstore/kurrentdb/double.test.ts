import { randomUUID } from 'node:crypto';
import * as kurrent from '@kurrent/kurrentdb-client';
import { KurrentDBClient } from '@kurrent/kurrentdb-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Double, startDouble } from './double.ts';

/** The double answers as a real server was seen to (EventStoreDB 24.6.0). With KURRENTDB_URL the server there is asked as well. */

type Expected = 'any' | 'no_stream' | bigint;

const servers = ['the double', ...(process.env.KURRENTDB_URL === undefined ? [] : ['a server'])];

describe.each(servers)('%s', which => {
  let double: Double | undefined;
  let client: KurrentDBClient;
  beforeAll(async () => {
    if (which === 'the double') double = await startDouble();
    client = KurrentDBClient.connectionString(double?.url ?? (process.env.KURRENTDB_URL as string));
  });
  afterAll(async () => {
    await client.dispose();
    await double?.close();
  });

  const ids = Array.from({ length: 4 }, () => randomUUID());
  const event = (n: number, id = ids[n] as string) => kurrent.jsonEvent({ id, type: 'a', data: { n } });
  const refusal = (error: { type?: string }): string => error.type ?? String(error);
  const append = (stream: string, events: readonly number[], streamState: Expected) =>
    client
      .appendToStream(
        stream,
        events.map(n => event(n)),
        { streamState },
      )
      .then(({ nextExpectedRevision }) => Number(nextExpectedRevision), refusal);
  const read = async (stream: string, options: Parameters<typeof client.readStream>[1] = {}): Promise<readonly number[] | string> => {
    const revisions: number[] = [];
    try {
      for await (const { event: one } of client.readStream(stream, options)) revisions.push(Number(one?.revision));
      return revisions;
    } catch (error) {
      return refusal(error as { type?: string });
    }
  };
  const remove = (stream: string) => client.deleteStream(stream, { expectedRevision: 'any' }).then(() => 'deleted', refusal);
  const wrong = 'wrong-expected-version';
  const missing = 'stream-not-found';

  it('judges revisions, and knows an append again by its ids', async () => {
    const stream = randomUUID();
    expect(await append(stream, [0], 'no_stream')).toBe(0);
    expect(await append(stream, [0], 'no_stream')).toBe(0);
    expect(await append(stream, [1], 0n)).toBe(1);
    expect(await append(stream, [1], 0n)).toBe(1);
    expect(await append(stream, [0], 'any')).toBe(0);
    expect(await append(stream, [2], 'no_stream')).toBe(wrong);
    expect(await append(stream, [2], 0n)).toBe(wrong);
    expect(await append(stream, [2], 5n)).toBe(wrong);
    expect(await append(stream, [1, 2], 'any'), 'one of two is known').toBe(wrong);
    expect(await append(stream, [1, 2], 1n), 'the same two, where they fit').toBe(3);
  });

  it('reads what there is, and tells a stream that is not there', async () => {
    const stream = randomUUID();
    await append(stream, [0, 1, 2], 'no_stream');
    expect(await read(stream, { fromRevision: 1n })).toEqual([1, 2]);
    expect(await read(stream, { fromRevision: 9n })).toEqual([]);
    expect(await read(stream, { direction: 'backwards', fromRevision: 'end', maxCount: 1 })).toEqual([2]);
    expect(await read(randomUUID())).toBe(missing);
  });

  it('deletes softly: revisions go on', async () => {
    const stream = randomUUID();
    expect(await remove(stream), 'a stream that never was').toBe(wrong);
    await append(stream, [0], 'any');
    expect(await remove(stream)).toBe('deleted');
    expect(await read(stream)).toBe(missing);
    expect(await remove(stream)).toBe('deleted');
    expect(await append(stream, [1], 'any')).toBe(1);
    expect(await read(stream)).toEqual([1]);
  });

  it('keeps the newest of a stream with a limit, and refuses more than 1 MiB at once', async () => {
    const stream = randomUUID();
    await client.setStreamMetadata(stream, { maxCount: 2 });
    await append(stream, [0, 1, 2, 3], 'any');
    expect(await read(stream)).toEqual([2, 3]);
    const large = kurrent.binaryEvent({ type: 'x', data: new Uint8Array(1024 * 1024 + 1) });
    expect(await client.appendToStream(randomUUID(), large).then(() => 'stored', refusal)).toBe('maximum-append-size-exceeded');
  });

  it('hands over what comes into a stream that was not there', async () => {
    const stream = randomUUID();
    const subscription = client.subscribeToStream(stream, { fromRevision: 'start' });
    const first = new Promise(resolve => subscription.once('data', resolve));
    await append(stream, [0], 'no_stream');
    expect(await first).toMatchObject({ event: { id: ids[0], revision: 0n, data: { n: 0 } } });
    await subscription.unsubscribe();
  });
});
