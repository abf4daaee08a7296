import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Link, linkOver } from '../../../src/eventstore/committer/link.ts';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { openSqliteStore, type SqliteStoreOptions } from '../../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../../src/eventstore/verify.ts';
import { event, temporaryFolder } from '../support.ts';

/** One process commits for all that have the store open; here they are parts of one process. */

const newFile = () => join(temporaryFolder(), 'events.db');

async function open(options: SqliteStoreOptions): Promise<EventStore> {
  const store = await openSqliteStore(options);
  onTestFinished(() => store.close());
  return store;
}

const committerOf = (file: string) => {
  const db = new Database(file, { readonly: true });
  const row = db.prepare<{ turn: number; committer: string }>('SELECT turn, committer FROM store').get();
  db.close();
  return row as { turn: number; committer: string };
};

/** Writes into the row of the committer, as an accident or an intruder would. */
function setCommitter(file: string, address: string): void {
  const db = new Database(file);
  db.prepare('UPDATE store SET committer = ?').run(address);
  db.close();
}

describe('processes at one store', () => {
  it('have one of them commit: appends, blobs, conditions, repetitions and refusals are as if each did it alone', async () => {
    const file = newFile();
    const [one, two, three] = [await open({ file }), await open({ file }), await open({ file })] as const;
    const first = event('A');
    await one.append('s', 'none', [first]);
    expect(committerOf(file)).toMatchObject({ turn: 1 });
    expect(await two.append('s', 0, [event('B')])).toEqual({ revision: 1, position: 2 });
    expect(await three.append('s', 'any', [first])).toEqual({ revision: 0, position: 1 });
    await expect(three.append('s', 0, [event('C')])).rejects.toMatchObject({
      code: 'REVISION_CONFLICT',
      stream: 's',
      expected: 0,
      actual: 1,
    });
    await expect(three.append('new', 'exists', [event('C')])).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND', actual: -1 });
    await expect(two.append('other', 'any', [{ ...first, type: 'Other' }])).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(two.append('t', 'none', [event('C')], [{ stream: 's', revision: 0 }])).rejects.toMatchObject({ stream: 's', actual: 1 });
    const blob = randomBytes(1000);
    await two.commit({ appends: [{ stream: 't', expected: 'none', events: [event('C'), event('D')] }], blobs: [blob] });
    expect((await three.readStream('t')).map(({ type }) => type)).toEqual(['C', 'D']);
    expect(await two.takeEpoch(0)).toBe(1);
    expect(await three.takeEpoch(0)).toBeUndefined();
    await expect(three.commit({ appends: [{ stream: 't', expected: 'any', events: [event('E')] }], epoch: 0 })).rejects.toMatchObject({
      code: 'LEADERSHIP_OVER',
    });
    expect(committerOf(file)).toMatchObject({ turn: 1 });
    expect(await one.head()).toBe(4);
  });

  it('read what they have stored immediately, and tell their subscribers', async () => {
    const file = newFile();
    const [one, two] = [await open({ file }), await open({ file })] as const;
    await one.append('s', 'none', [event('A')]);
    const seen: number[] = [];
    const subscription = two.subscribe(0, events => void seen.push(...events.map(({ position }) => position)));
    for (let revision = 0; revision < 50; revision++) {
      await two.append('s', revision, [event('A')]);
      expect(await two.readStream('s')).toHaveLength(revision + 2);
    }
    await expect.poll(() => subscription.position).toBe(51);
    expect(seen).toEqual(Array.from({ length: 51 }, (_, i) => i + 1));
  });

  it('keep the order in which one of them asks, small and large, however much waits', async () => {
    const file = newFile();
    const [one, two] = [await open({ file }), await open({ file })] as const;
    await one.append('s', 'none', [event('First')]);
    const sizes = Array.from({ length: 120 }, (_, i) => (i % 60 === 7 ? 1200 : 1 + (i % 5)));
    const results = await Promise.all(
      sizes.map((count, i) =>
        two.commit({
          appends: [{ stream: 's', expected: 'any', events: Array.from({ length: count }, () => event(`N${i}`)) }],
          blobs: i === 3 ? Array.from({ length: 200 }, () => randomBytes(64 * 1024)) : [],
        }),
      ),
    );
    const positions = results.map(([result]) => result?.position ?? 0);
    expect(positions).toEqual(positions.toSorted((a, b) => a - b));
    expect(await one.head()).toBe(1 + sizes.reduce((sum, size) => sum + size, 0));
  });

  it('have the link to it carry whatever they may store: too large a commit is refused before, much at once goes in parts', async () => {
    const file = newFile();
    const [one, two] = [await open({ file }), await open({ file })] as const;
    await one.append('s', 'none', [event('A')]);
    const text = 'x'.repeat(200_000);
    const events = (count: number) => Array.from({ length: count }, () => event('B', { text }));
    for (const store of [one, two]) await expect(store.append('t', 'any', events(90))).rejects.toMatchObject({ code: 'EVENT_TOO_LARGE' });
    const blobs = Array.from({ length: 250 }, () => randomBytes(65_536));
    await two.commit({ appends: [{ stream: 't', expected: 'none', events: events(80) }], blobs });
    // More than a frame has, and more than may wait to be sent.
    await Promise.all(Array.from({ length: 10 }, (_, i) => two.append(`u-${i}`, 'none', events(80))));
    expect(await two.head()).toBe(1 + 11 * 80);
    expect(committerOf(file)).toMatchObject({ turn: 1 });
  });

  it('go on when the one that commits closes: what it has taken is answered, what it has not is stored by the next, all of it once', async () => {
    const file = newFile();
    const [one, two, three] = [await openSqliteStore({ file }), await open({ file }), await open({ file })] as const;
    await one.append('s', 'none', [event('First')]);
    await Promise.all([two.append('s', 'any', [event('A')]), three.append('s', 'any', [event('B')])]);
    const appends = Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? two : three).append('s', 'any', [event('C')]));
    await Promise.race(appends);
    await one.close();
    const positions = (await Promise.all(appends)).map(({ position }) => position);
    expect(positions.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 400 }, (_, i) => i + 4));
    await two.append('s', 'any', [event('D')]);
    expect(committerOf(file).turn).toBeGreaterThan(1);
    expect(readdirSync(dirname(file)).filter(name => name.includes('-committer-'))).toHaveLength(1);
    expect(verifyStore(file)).toMatchObject({ ok: true, events: 404 });
  });

  it('leave no socket behind, which nobody but the owner may use', async () => {
    const file = newFile();
    const store = await openSqliteStore({ file });
    await store.append('s', 'none', [event('A')]);
    const socket = join(dirname(file), committerOf(file).committer);
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    await store.close();
    expect(existsSync(socket)).toBe(false);
  });

  it('commit each by itself where there can be no socket', async () => {
    const folder = join(temporaryFolder(), 'x'.repeat(100));
    mkdirSync(folder);
    const file = join(folder, 'events.db');
    const [one, two] = [await open({ file }), await open({ file })] as const;
    await Promise.all(Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? one : two).append('s', 'any', [event('A')])));
    expect(await one.head()).toBe(40);
    expect(committerOf(file)).toEqual({ turn: 0, committer: '' });
  });
});

function acknowledgeAll(socket: Socket): void {
  const answers = Array.from({ length: 10 }, (_, number) => [number, 0, 9]);
  const link: Link = linkOver(socket, 'committer', randomBytes(32), {
    onReady: () => link.send({ answers }),
    onValue() {},
    onEnd() {},
  });
}

const impostors: readonly [what: string, answer: ((socket: Socket) => void) | undefined][] = [
  ['nobody', undefined],
  ['one that says nothing', () => {}],
  ['one that sends what is no frame', socket => void socket.write(randomBytes(10_000))],
  ['one that acknowledges everything and has not the key', acknowledgeAll],
];

describe('the socket of the one that commits', () => {
  const seal = { key: randomBytes(32), isNew: true };

  it('is of no use to a process without the key of the seal', async () => {
    const file = newFile();
    const one = await open({ file, seal });
    await one.append('s', 'none', [event('A')]);
    for (const other of [undefined, { key: randomBytes(32), isNew: false }]) {
      const intruder = await open({ file, ...(other && { seal: other }) }).catch(error => error as Error);
      if (intruder instanceof Error) continue;
      await expect(intruder.append('s', 'any', [event('Planted')])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    }
    expect(await one.append('s', 0, [event('B')])).toEqual({ revision: 1, position: 2 });
    expect(verifyStore(file)).toMatchObject({ ok: true, events: 2 });
  });

  it.each(impostors)('is replaced when there is %s', async (_, answer) => {
    const file = newFile();
    const one = await openSqliteStore({ file, seal });
    await one.append('s', 'none', [event('A')]);
    await one.close();
    const address = 'events.db-committer-planted';
    if (answer !== undefined) {
      const server = createServer(answer).listen(join(dirname(file), address));
      server.on('connection', socket => socket.on('error', () => undefined));
      onTestFinished(() => void server.close());
    }
    setCommitter(file, address);
    const two = await open({ file, seal });
    expect(await two.append('s', 0, [event('B')])).toEqual({ revision: 1, position: 2 });
    expect(committerOf(file)).toMatchObject({ turn: 2 });
    expect(verifyStore(file)).toMatchObject({ ok: true, events: 2 });
  });

  it('lies in the folder of the store, whatever the row says', async () => {
    const file = newFile();
    const one = await openSqliteStore({ file });
    await one.append('s', 'none', [event('A')]);
    await one.close();
    let asked = 0;
    const elsewhere = join(temporaryFolder(), 'socket');
    const server = createServer(() => {
      asked += 1;
    }).listen(elsewhere);
    onTestFinished(() => void server.close());
    setCommitter(file, `events.db-committer-/../../${elsewhere.split('/').slice(-2).join('/')}`);
    const two = await open({ file });
    await two.append('s', 0, [event('B')]);
    expect(asked).toBe(0);
  });
});
