import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { sha256Hex } from '../../../src/digest.ts';
import { moveIntoKurrent } from '../../../src/eventstore/kurrentdb/move.ts';
import { openKurrentStore } from '../../../src/eventstore/kurrentdb.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../../src/eventstore/verify.ts';
import { event, temporaryFolder } from '../support.ts';
import { startDouble } from './double.ts';

const seal = { key: randomBytes(32), isNew: true };

it('a log that is moved keeps every event, place, proof, blob and epoch, and goes on there and on a second machine (T18)', async () => {
  const folder = temporaryFolder();
  const double = await startDouble();
  onTestFinished(double.close);
  const [file, name] = [join(folder, 'events.db'), 'p'];
  const own = await openSqliteStore({ file, seal });
  const blob = randomBytes(100);
  await own.commit({ appends: [{ stream: 'b', expected: 'none', events: [event('B')] }], blobs: [blob] });
  for (let i = 0; i < 30; i++)
    await own.append(
      `s-${i % 3}`,
      'any',
      Array.from({ length: 50 }, (_, n) => event('A', { i, n })),
    );
  await own.takeEpoch(0);
  const [events, root] = [await own.readAll(0, 10_000), await own.tree.root(1501)];
  await own.close();

  // The connection breaks in between, and somebody calls it again.
  double.failNextAppend('p-log', 'unanswered');
  expect(await moveIntoKurrent({ url: double.url, name, file, seal })).toBe(1501);
  expect(existsSync(`${file}-head`)).toBe(false);
  await expect(moveIntoKurrent({ url: double.url, name, file, seal })).rejects.toMatchObject({ code: 'STATE' });

  const stores = [
    await openKurrentStore({ url: double.url, name, file, seal }),
    await openKurrentStore({ url: double.url, name, file: join(folder, 'second.db'), seal }),
  ] as const;
  onTestFinished(() => Promise.all(stores.map(store => store.close())).then(() => undefined));
  for (const store of stores) {
    expect(await store.readAll(0, 10_000)).toEqual(events);
    expect(await store.tree.root(1501)).toBe(root);
    expect(store.epoch()).toBe(1);
    expect(Buffer.compare((await store.readBlob(sha256Hex(blob))) ?? Buffer.alloc(0), blob)).toBe(0);
  }
  expect(await stores[1].append('s-0', 499, [event('C')])).toMatchObject({ revision: 500 });
  expect(await stores[0].head()).toBe(1502);
  expect(await stores[0].readStream('s-0', 500)).toHaveLength(1);
  expect(verifyStore(file)).toMatchObject({ ok: true, events: 1502 });
});

it('is refused where another log of the project is', async () => {
  const folder = temporaryFolder();
  const double = await startDouble();
  onTestFinished(double.close);
  const there = await openKurrentStore({ url: double.url, name: 'p', file: join(folder, 'there.db') });
  await there.append('s', 'none', [event('X')]);
  await there.close();
  const file = join(folder, 'events.db');
  const own = await openSqliteStore({ file });
  await own.append('s', 'none', [event('A')]);
  await own.close();
  await expect(moveIntoKurrent({ url: double.url, name: 'p', file })).rejects.toMatchObject({ code: 'STATE' });
});
