import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { noRevocations, withRevocation } from '../../../src/merkle/checkpoint.ts';
import { provenHead } from '../../../src/merkle/headMap.ts';
import { type HeadMapFile, openHeadMap } from '../../../src/services/proof/headMapFile.ts';
import { openMemoryStore } from '../../eventstore/memory.ts';
import { event, temporaryFolder } from '../../eventstore/support.ts';

const patient = 60_000;
let store: EventStore;
let heads: HeadMapFile;
let file: string;
beforeEach(() => {
  store = openMemoryStore();
  file = join(temporaryFolder(), 'heads.db');
  heads = openHeadMap(file);
});
afterEach(async () => {
  await heads.close();
  await store.close();
});

async function fill(target: EventStore, events: number): Promise<void> {
  for (let i = 0; i < events; i++) await target.append(`device-${i % 17}`, 'any', [event('Happened', { i })]);
}

describe('the file of stream heads', () => {
  it('proves the newest event of each stream at exactly this size', async () => {
    await fill(store, 50);
    const made = await heads.advance(store, 40, patient);
    heads.keep('note', 40);
    const events = (await store.readAll(0, 40)).filter(({ stream }) => stream === 'device-3');
    const { note, proof } = heads.prove('device-3') ?? {};
    expect(note).toBe('note');
    const newest = events.at(-1);
    expect(provenHead(made?.heads ?? '', 'device-3', proof ?? { siblings: [] })).toMatchObject({
      revision: newest?.revision,
      hash: newest?.hash,
    });
  });

  it('counts and hashes all events that change what is revoked, not only the newest', async () => {
    await fill(store, 10);
    const before = await heads.advance(store, 10, patient);
    expect(before?.revocations).toEqual(noRevocations);
    for (const type of ['CertificateRevoked', 'Happened', 'GatewayRevoked']) await store.append('device-1', 'any', [event(type)]);
    const events = await store.readAll(10, 3);
    const expected = [events[0], events[2]].reduce((mark, revoking) => withRevocation(mark, revoking?.hash ?? ''), noRevocations);
    expect((await heads.advance(store, 13, patient))?.revocations).toEqual(expected);
    expect(expected.count).toBe(2);
  });

  it('has the same root in many steps, over several openings, as in one step', async () => {
    const streams = 3000;
    const append = (i: number) => store.append(`device-${i % streams}`, 'any', [event('Happened', { i })]);
    for (let i = 0; i < streams + 500; i++) await append(i);
    const size = streams + 500;
    for (const part of [700, 2900, size - 1]) {
      await heads.advance(store, part, patient);
      await heads.close();
      heads = openHeadMap(file);
    }
    const made = await heads.advance(store, size, patient);
    const other = openHeadMap(join(temporaryFolder(), 'heads.db'));
    expect(made).toEqual(await other.advance(store, size, patient));
    await other.close();
  });

  it('takes nothing over what another process has written meanwhile', async () => {
    await fill(store, 40);
    const other = openHeadMap(file);
    const readOutlines: EventStore['readOutlines'] = async (...range) => {
      const events = await store.readOutlines(...range);
      await other.advance(store, 40, patient);
      return events;
    };
    expect(await heads.advance({ ...store, readOutlines }, 30, patient)).toBeUndefined();
    other.keep('note', 40);
    expect(heads.prove('device-1')).toBeDefined();
    await other.close();
  });

  it('gives no proof for a checkpoint that is not of the map as it is', async () => {
    await fill(store, 30);
    await heads.advance(store, 20, patient);
    expect(heads.prove('device-1')).toBeUndefined();
    heads.keep('note', 20);
    expect(heads.prove('device-1')).toBeDefined();
    await heads.advance(store, 30, patient);
    expect(heads.prove('device-1')).toBeUndefined();
  });

  it('goes on where it was when it is opened again, with the root of one that began anew', async () => {
    await fill(store, 60);
    await heads.advance(store, 25, patient);
    await heads.close();
    heads = openHeadMap(file);
    const fresh = openHeadMap(join(temporaryFolder(), 'heads.db'));
    expect(await heads.advance(store, 60, patient)).toEqual(await fresh.advance(store, 60, patient));
    await fresh.close();
  });

  it('leaves off when its time is over, and says that it is not there', async () => {
    await fill(store, 30);
    expect(await heads.advance(store, 30, 0)).toBeUndefined();
    expect(await heads.advance(store, 30, patient)).toBeDefined();
  });

  it('begins anew for a store that is another one, or an older one', async () => {
    await fill(store, 30);
    await heads.advance(store, 30, patient);
    const other = openMemoryStore();
    await fill(other, 40);
    const fresh = openHeadMap(join(temporaryFolder(), 'heads.db'));
    expect(await heads.advance(other, 35, patient)).toEqual(await fresh.advance(other, 35, patient));
    expect(await heads.advance(other, 10, patient)).toBeDefined();
    await fresh.close();
    await other.close();
  });
});
