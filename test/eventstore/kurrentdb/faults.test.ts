import { execFileSync } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { whyUnreached } from '../../../src/eventstore/kurrentdb/whyUnreached.ts';
import { openKurrentStore } from '../../../src/eventstore/kurrentdb.ts';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';
import { canMount, fillDisk, smallDisk } from '../smallDisk.ts';
import { event, temporaryFolder } from '../support.ts';
import { type Double, startDouble } from './double.ts';
import { startDoubleCluster } from './doubleCluster.ts';

/** What goes wrong between servers and KurrentDB, on the double. */

const key = randomBytes(32);
const name = 'p';
const logStream = `${name}-log`;
const code = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    error => error.code,
  );

let double: Double;
let stores: EventStore[] = [];
const open = async (file = join(temporaryFolder(), 'events.db'), sealKey = key): Promise<EventStore> => {
  const store = await openKurrentStore({ url: double.url, name, file, seal: { key: sealKey, isNew: false } });
  stores.push(store);
  return store;
};
/** Of everything that is stored by now, on whatever server. */
const idsOf = async (store: EventStore, stream: string): Promise<string[]> => {
  await store.head();
  return (await store.readStream(stream)).map(({ id }) => id);
};

beforeEach(async () => {
  double = await startDouble();
});
afterEach(async () => {
  await Promise.all(stores.map(store => store.close()));
  stores = [];
  await double.close();
});

describe('a connection that breaks', () => {
  it.each(['lost', 'unanswered', 'silent'] as const)(
    'in an append that is %s: the events are stored once, and acknowledged once',
    async how => {
      const [store, other] = [await open(), await open()];
      await store.append('s', 'none', [event('A')]);
      double.failNextAppend(logStream, how);
      const added = event('B');
      expect(await store.append('s', 0, [added])).toMatchObject({ revision: 1 });
      expect(await store.append('s', 0, [added])).toMatchObject({ revision: 1 });
      await other.append('s', 1, [event('C')]);
      expect(await idsOf(other, 's')).toHaveLength(3);
      expect(await idsOf(store, 's')).toEqual(await idsOf(other, 's'));
    },
  );

  it('while another server was faster: the event is stored once, behind the other', async () => {
    const [store, other] = [await open(), await open()];
    double.failNextAppend(logStream, 'lost');
    const [mine, theirs] = [event('A'), event('B')];
    await Promise.all([store.append('s', 'any', [mine]), other.append('s', 'any', [theirs])]);
    expect((await idsOf(store, 's')).toSorted()).toEqual([mine.id, theirs.id].toSorted());
  });

  it('ends no subscription: it goes on where it was, each event once, in order', async () => {
    const [store, other] = [await open(), await open()];
    const seen: number[] = [];
    const all = Promise.withResolvers<void>();
    other.subscribe(0, events => {
      seen.push(...events.map(({ position }) => position));
      if (seen.length === 30) all.resolve();
    });
    for (let i = 0; i < 30; i++) {
      if (i % 10 === 5) double.failNextAppend(logStream, 'unanswered');
      await store.append(`s-${i % 3}`, 'any', [event('A')]);
    }
    await all.promise;
    expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  });
});

describe('a database that is away', () => {
  it('acknowledges nothing, says so, and is used again when it is back', async () => {
    const store = await open();
    await store.append('s', 'none', [event('A')]);
    await double.down();
    const lost = event('B');
    expect(await code(store.append('s', 0, [lost]))).toBe('STORE_UNAVAILABLE');
    expect(await code(store.head())).toBe('STORE_UNAVAILABLE');
    expect(await store.trouble()).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await double.up();
    expect(await store.append('s', 'any', [lost])).toMatchObject({ revision: 1 });
    expect(await idsOf(store, 's')).toHaveLength(2);
  });

  it('may take its time for the first answer of all: a busy cluster that is asked who leads is not away', async () => {
    double.pause();
    const opening = open();
    setTimeout(() => double.resume(), 3000);
    expect(await (await opening).head()).toBe(0);
  });

  it('that ends in the middle of an append, as a server does whose disk is full, has acknowledged nothing of it; with room again it is stored once', async () => {
    const [store, other] = [await open(), await open()];
    await store.append('s', 'none', [event('A')]);
    const added = event('B');
    double.failNextAppend(logStream, 'ends');
    expect(await code(store.append('s', 0, [added]))).toBe('STORE_UNAVAILABLE');
    expect(await store.trouble()).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await double.up();
    expect(await store.append('s', 0, [added])).toMatchObject({ revision: 1 });
    expect(await idsOf(other, 's')).toEqual([expect.any(String), added.id]);
  });

  it('answers no read after a second: what is here may be old by then', async () => {
    const [store, other] = [await open(), await open()];
    await store.append('s', 'none', [event('A')]);
    expect(await idsOf(other, 's')).toHaveLength(1);
    await double.down();
    const refused = async (): Promise<string> => {
      for (;;) {
        const answer = await code(other.readStream('s'));
        if (answer !== 'done') return answer;
        await new Promise(resolve => setTimeout(resolve, 50));
      }
    };
    expect(await refused()).toBe('STORE_UNAVAILABLE');
    await double.up();
    await store.append('s', 0, [event('B')]);
    expect(await idsOf(other, 's')).toHaveLength(2);
  });

  it('that was stopped and goes on stores what it had taken only once', async () => {
    const store = await open();
    await store.append('s', 'none', [event('A')]);
    double.pause();
    const added = event('B');
    const appended = code(store.append('s', 0, [added]));
    expect(await appended).toBe('STORE_UNAVAILABLE');
    double.resume();
    expect(await store.append('s', 0, [added])).toMatchObject({ revision: 1 });
    expect(await idsOf(store, 's')).toEqual([expect.any(String), added.id]);
  });
});

describe('a copy on a disk that is full', () => {
  it('is trouble, though the database can be written; with room again it has everything, each event once', async test => {
    if (!canMount()) return test.skip('no right to mount a disk');
    // The log and the main file have room for the events below at the same time.
    const folder = smallDisk(16);
    const [store, other] = [await open(join(folder, 'events.db')), await open()];
    await store.append('s', 'none', [event('A')]);
    expect(await store.trouble()).toBeUndefined();
    const free = fillDisk(folder);
    await expect.poll(() => store.trouble()).toMatchObject({ code: 'STORE_FULL' });
    for (let n = 0; n < 40; n += 1) await other.append('s', 'any', [event('B', { text: 'x'.repeat(100_000) })]);
    expect(await code(store.append('s', 'any', [event('C')]))).toMatch(/^STORE_(FULL|UNAVAILABLE)$/);
    free();
    await expect.poll(() => store.trouble()).toBeUndefined();
    await store.append('s', 'any', [event('C')]);
    expect(await idsOf(store, 's')).toEqual(await idsOf(other, 's'));
    expect(await idsOf(store, 's')).toHaveLength(42);
  });
});

describe('a cluster', () => {
  it('whose leader is lost under writers: the next one has every acknowledged event, each once, and they go on by themselves', async () => {
    const cluster = await startDoubleCluster();
    onTestFinished(cluster.close);
    const openThere = async () => {
      const store = await openKurrentStore({
        url: cluster.url,
        name,
        file: join(temporaryFolder(), 'events.db'),
        seal: { key, isNew: false },
      });
      stores.push(store);
      return store;
    };
    const servers = [await openThere(), await openThere()];
    const acknowledged: string[] = [];
    let isOver = false;
    onTestFinished(() => {
      isOver = true;
    });
    const write = async (store: EventStore, n: number): Promise<void> => {
      for (let added = event('A'); !isOver; ) {
        if ((await code(store.append(`s-${n}`, 'any', [added]))) !== 'done') continue;
        acknowledged.push(added.id);
        added = event('A');
      }
    };
    const writing = Array.from({ length: 8 }, (_, n) => write(servers[n % 2] as EventStore, n));
    for (let losses = 0; losses < 2; losses += 1) {
      const before = acknowledged.length;
      await expect.poll(() => acknowledged.length).toBeGreaterThan(before + 20);
      await cluster.loseLeader();
    }
    const before = acknowledged.length;
    await expect.poll(() => acknowledged.length).toBeGreaterThan(before + 20);
    isOver = true;
    await Promise.all(writing);
    for (const store of servers) await store.head();
    const [one, two] = await Promise.all(servers.map(store => store.readAll(0, 10_000)));
    expect(one).toEqual(two);
    expect(one?.map(({ id }) => id).toSorted()).toEqual(acknowledged.toSorted());
  });
});

describe('two servers', () => {
  it('decide in one order: of two that expect the same revision one is refused', async () => {
    const servers = [await open(), await open(), await open()];
    const [first] = servers as [EventStore];
    await first.append('s', 'none', [event('A')]);
    for (let revision = 0; revision < 10; revision++) {
      const outcomes = await Promise.all(servers.map(store => code(store.append('s', revision, [event('B')]))));
      expect(outcomes.toSorted()).toEqual(['REVISION_CONFLICT', 'REVISION_CONFLICT', 'done']);
    }
    const [one, two] = await Promise.all(servers.map(store => store.readAll(0, 100)));
    expect(one).toEqual(two);
  });

  it('that both believe to lead: only what the newer epoch stores is stored, whatever their clocks show', async () => {
    const [old, next] = [await open(), await open()];
    expect(await old.takeEpoch(0)).toBe(1);
    const commit = (store: EventStore, epoch: number) =>
      code(store.commit({ appends: [{ stream: 's', expected: 'any', events: [event('A')] }], epoch }));
    expect(await commit(old, 1)).toBe('done');
    expect(await next.takeEpoch(1)).toBe(2);
    expect(await commit(old, 1)).toBe('LEADERSHIP_OVER');
    expect(await commit(next, 2)).toBe('done');
    expect(await next.takeEpoch(1)).toBeUndefined();
    expect(await Promise.all([old.takeEpoch(2), next.takeEpoch(2)])).toContain(undefined);
    expect(await idsOf(old, 's')).toHaveLength(2);
  });

  it('see the signs of the one that leads', async () => {
    const [one, two] = [await open(), await open()];
    expect(await two.lease?.read()).toBeUndefined();
    for (let count = 1; count < 20; count++) await one.lease?.give({ epoch: 1, count, holder: 'one' });
    expect(await two.lease?.read()).toEqual({ epoch: 1, count: 19, holder: 'one' });
  });
});

describe('what the log holds', () => {
  it('is taken in by a server that comes later, with chain, tree and large commits', async () => {
    const store = await open();
    const large = 'x'.repeat(200_000);
    const many = Array.from({ length: 12 }, (_, n) => event('Large', { n, large }));
    await store.append('large', 'none', many);
    for (let i = 0; i < 300; i++) await store.append(`s-${i % 7}`, 'any', [event('A', { i })]);
    const bytes = randomBytes(1000);
    await store.commit({ appends: [{ stream: 'b', expected: 'none', events: [event('B')] }], blobs: [bytes] });
    const later = await open();
    expect(await later.readAll(0, 1000)).toEqual(await store.readAll(0, 1000));
    expect(await later.tree.root(313)).toBe(await store.tree.root(313));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    expect(Buffer.compare((await later.readBlob(sha256)) ?? Buffer.alloc(0), bytes)).toBe(0);
    await store.commit({ appends: [], droppedBlobs: [sha256] });
    await later.head();
    expect(await later.readBlob(sha256)).toBeUndefined();
  });

  it('is taken in by a server that comes later however long all of it takes: only silence is a failure', async () => {
    const store = await open();
    for (let n = 0; n < 14; n += 1) await store.append('s', 'any', [event('A')]);
    // Longer together than one answer is waited for.
    double.slowReads(300);
    expect(await idsOf(await open(), 's')).toEqual(await idsOf(store, 's'));
  });

  it('is refused when it has less than was acknowledged here, as after an old backup of the database', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await open(file);
    for (let i = 0; i < 5; i++) await store.append('s', 'any', [event('A')]);
    await store.close();
    double.cut(logStream, 3);
    expect(await code(open(file))).toBe('STORE_DAMAGED');
    const accepted = await openKurrentStore({ url: double.url, name, file, seal: { key, isNew: false }, acceptOlder: true });
    stores.push(accepted);
    expect(await idsOf(accepted, 's')).toHaveLength(3);
  });

  it('is refused when it is another log', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await open(file);
    await store.append('s', 'any', [event('A')]);
    await store.close();
    double.cut(logStream, 0);
    const other = await open();
    await other.append('s', 'any', [event('A')]);
    expect(await code(open(file))).toBe('STORE_DAMAGED');
  });

  it('is damaged by what was not sealed with the key of the project', async () => {
    const store = await open();
    await store.append('s', 'none', [event('A')]);
    const stranger = { stream: 's', id: randomUUID(), event: ['A', 1, '2026-01-01T00:00:00.000Z', 'system:x', null, null, {}] };
    double.plant(logStream, 'nusec-commit', { first: 1, events: [stranger], more: { seal: { size: 2, code: '00'.repeat(32) } } });
    expect(await code(store.head())).toBe('STORE_DAMAGED');
    expect(await code(store.append('s', 0, [event('B')]))).toBe('STORE_DAMAGED');
    expect(await store.trouble()).toMatchObject({ code: 'STORE_DAMAGED' });
    expect(await code(open())).toBe('STORE_DAMAGED');
  });

  it('is refused with another key', async () => {
    const store = await open();
    await store.append('s', 'none', [event('A')]);
    expect(await code(open(undefined, randomBytes(32)))).toBe('STORE_DAMAGED');
  });

  it('is not mixed with a file of its own: each is refused as the other', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'own.db');
    const own = await openSqliteStore({ file });
    await own.append('s', 'any', [event('A')]);
    await own.close();
    expect(await code(open(file))).toBe('STATE');
    const copy = join(folder, 'copy.db');
    await (await open(copy)).close();
    expect(await code(openSqliteStore({ file: copy }))).toBe('STATE');
  });
});

describe('TLS and credentials', () => {
  it('are what the server must show and what it is shown; without them nothing is read or stored', async () => {
    const folder = temporaryFolder();
    const [ca, otherCa] = [certificate(folder, 'ca'), certificate(folder, 'other')];
    const node = certificate(folder, 'node', ca);
    const tls = { key: readFileSync(node.key, 'utf8'), cert: readFileSync(node.cert, 'utf8') };
    const secure = await startDouble({ tls, login: 'nusec:se:cret' });
    onTestFinished(secure.close);
    const tryOpen = async (trust: string, credentials: string) => {
      const file = join(temporaryFolder(), 'events.db');
      const store = await openKurrentStore({ url: `${secure.url}?tlsCaFile=${encodeURIComponent(trust)}`, credentials, name, file });
      stores.push(store);
      return store.append('s', 'any', [event('A')]);
    };
    expect(await tryOpen(ca.cert, 'nusec:se:cret')).toMatchObject({ revision: 0 });
    await expect(tryOpen(ca.cert, 'nusec:wrong')).rejects.toThrow(/^(?!.*wrong).*refuses the user/);
    await expect(tryOpen(otherCa.cert, 'nusec:se:cret')).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/^(?!.*se:cret).*not from a CA that is trusted here.*tlsCaFile/),
    });
  });

  it('are named when a server gives no answer: which of them is wrong', async () => {
    const folder = temporaryFolder();
    const [ca, otherCa] = [certificate(folder, 'ca'), certificate(folder, 'other')];
    const node = certificate(folder, 'node', ca);
    // As KurrentDB over HTTP: a wrong login is refused everywhere.
    const server = createServer({ key: readFileSync(node.key), cert: readFileSync(node.cert) }, (request, response) => {
      const isRight = request.headers.authorization === `Basic ${Buffer.from('nusec:se:cret').toString('base64')}`;
      response.writeHead(isRight ? 200 : 401).end();
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const why = (host: string, caFile: string, password: string) =>
      whyUnreached({ host, port, caFile, login: { username: 'nusec', password } });
    expect(await why('localhost', ca.cert, 'se:cret')).toBeUndefined();
    expect(await why('localhost', ca.cert, 'wrong')).toMatch(/^it refuses the user or the password$/);
    expect(await why('localhost', otherCa.cert, 'se:cret')).toMatch(/tlsCaFile/);
    expect(await why('127.0.0.1', ca.cert, 'se:cret')).toMatch(/another name/);
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
    expect(await why('localhost', ca.cert, 'se:cret')).toBe('ECONNREFUSED');
  });
});

/** A certificate made by OpenSSL: of a CA, or, given one, of a node on localhost. */
function certificate(folder: string, called: string, ca?: { readonly key: string; readonly cert: string }) {
  const [key, cert] = [join(folder, `${called}.key`), join(folder, `${called}.crt`)];
  const extensions =
    ca === undefined ? ['basicConstraints=critical,CA:TRUE'] : ['basicConstraints=critical,CA:FALSE', 'subjectAltName=DNS:localhost'];
  const issuer = ca === undefined ? [] : ['-CA', ca.cert, '-CAkey', ca.key];
  const subject = ['-subj', `/CN=${called}`, ...extensions.flatMap(each => ['-addext', each]), '-days', '2'];
  const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert];
  execFileSync('openssl', ['req', '-x509', ...issuer, ...subject, ...made], { stdio: 'ignore' });
  return { key, cert };
}

describe('the address', () => {
  const opened = (url: string) =>
    openKurrentStore({ url, name, file: join(temporaryFolder(), 'events.db') }).then(
      () => 'opened',
      error => `${error.code} ${error.message}`,
    );
  it('to another machine is TLS, and no error shows a password', async () => {
    expect(await opened('kurrentdb://db.example.com:2113?tls=false')).toMatch(/^BAD_REQUEST.*TLS/);
    for (const wrong of [
      'kurrentdb://u:geheim@localhost:99x',
      'http://u:geheim@localhost',
      'kurrentdb://u:geheim@localhost:1?tlsCaFile=/none',
    ])
      expect(await opened(wrong)).toMatch(/^BAD_REQUEST(?!.*geheim)/);
  });
});
