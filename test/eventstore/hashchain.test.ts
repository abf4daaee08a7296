import { createHash } from 'node:crypto';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/eventstore/canonical.ts';
import { verifyStream } from '../../src/eventstore/hashchain.ts';
import type { JsonObject, RecordedEvent } from '../../src/eventstore/port.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { covers } from '../support/covers.ts';
import { openMemoryStore } from './memory.ts';
import { event, nextId, temporaryFolder } from './support.ts';

const jsonObject = fc
  .dictionary(fc.string(), fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }), { maxKeys: 6 })
  .map(value => JSON.parse(JSON.stringify(value)) as JsonObject);

describe('hash chain (T18)', () => {
  it('follows the recipe in docs/event-store.md, computed here from scratch', async () => {
    const store = openMemoryStore();
    const full = { ...event('DeviceMinted', { b: 1, a: 'ü' }, '0190-id'), v: 2, cause: 'c', corr: 'r' };
    await store.append('device-1', 'none', [full, { ...event('DeviceCertified', {}, '0191-id') }]);
    const sha256 = (text: string) => createHash('sha256').update(text, 'utf8').digest('hex');
    const first = sha256(
      `${'0'.repeat(64)}["device-1",0,"0190-id","DeviceMinted",2,"2026-01-02T03:04:05.678Z","system:test","c","r",{"a":"ü","b":1}]`,
    );
    const second = sha256(`${first}["device-1",1,"0191-id","DeviceCertified",1,"2026-01-02T03:04:05.678Z","system:test",null,null,{}]`);
    expect((await store.readStream('device-1')).map(e => e.hash)).toEqual([first, second]);
  });

  it('survives reading back from SQLite and any JSON in between, whatever the data', async () => {
    const store = await openSqliteStore({ file: join(temporaryFolder(), 'events.db') });
    await fc.assert(
      fc.asyncProperty(fc.array(jsonObject, { minLength: 1, maxLength: 4 }), async list => {
        const stream = `s-${nextId()}`;
        await store.append(
          stream,
          'none',
          list.map(data => event('E', data)),
        );
        const events = await store.readStream(stream);
        expect(events.map(e => e.data)).toEqual(list);
        expect(verifyStream(JSON.parse(JSON.stringify(events)) as RecordedEvent[])).toMatchObject({ ok: true, events: list.length });
      }),
      { numRuns: 200 },
    );
    await store.close();
  });

  it('a change of any field of any event names the stream and the revision', async () => {
    covers('T18');
    const store = openMemoryStore();
    for (let i = 0; i < 6; i++) await store.append('device-7', 'any', [{ ...event('E', { n: i }), cause: 'c', corr: 'r' }]);
    const events = await store.readStream('device-7');
    expect(verifyStream(events)).toEqual({ ok: true, events: 6, hash: events[5]?.hash });
    const changes: Partial<RecordedEvent>[] = [
      { type: 'F' },
      { v: 2 },
      { id: 'other' },
      { at: '2026-01-02T03:04:05.679Z' },
      { by: 'operator:mallory' },
      { cause: 'd' },
      { corr: 's' },
      { data: { n: 99 } },
      { data: { n: 99, m: 1 } },
      { hash: 'f'.repeat(64) },
    ];
    for (const change of changes) {
      for (let bad = 0; bad < events.length; bad++) {
        const tampered = events.map((e, i) => (i === bad ? { ...e, ...change } : e));
        expect(verifyStream(tampered)).toEqual({ ok: false, stream: 'device-7', revision: bad, reason: 'hash' });
      }
    }
  });

  it('events left out, repeated, swapped or of another stream are found', async () => {
    covers('T18');
    const store = openMemoryStore();
    for (let i = 0; i < 4; i++) await store.append('a', 'any', [event('E', { n: i })]);
    await store.append('b', 'any', [event('E')]);
    const [e0, e1, e2, e3] = (await store.readStream('a')) as [RecordedEvent, RecordedEvent, RecordedEvent, RecordedEvent];
    const [other] = (await store.readStream('b')) as [RecordedEvent];
    expect(verifyStream([e1, e2])).toEqual({ ok: false, stream: 'a', revision: 0, reason: 'order' });
    expect(verifyStream([e0, e2, e3])).toEqual({ ok: false, stream: 'a', revision: 1, reason: 'order' });
    expect(verifyStream([e0, e0, e1])).toEqual({ ok: false, stream: 'a', revision: 1, reason: 'order' });
    expect(verifyStream([e0, e1, e3, e2])).toEqual({ ok: false, stream: 'a', revision: 2, reason: 'order' });
    expect(verifyStream([e0, { ...other, revision: 1 }])).toEqual({ ok: false, stream: 'a', revision: 1, reason: 'order' });
    expect(verifyStream([e0, { ...other, stream: 'a', revision: 1 }])).toEqual({ ok: false, stream: 'a', revision: 1, reason: 'hash' });
    expect(verifyStream([e2, e3], { revision: 1, hash: e1.hash })).toMatchObject({ ok: true, events: 2 });
  });
});

describe('verifyStore (T18)', () => {
  const changes: [what: string, sql: string, reason: string][] = [
    ['content', `UPDATE events SET body = replace(body, '"n":2', '"n":3') WHERE position = 5`, 'hash'],
    ['white space in the stored text', `UPDATE events SET body = replace(body, '{', '{ ') WHERE position = 5`, 'hash'],
    ['id', `UPDATE events SET id = 'other' WHERE position = 5`, 'hash'],
    ['hash', `UPDATE events SET hash = '${'0'.repeat(64)}' WHERE position = 5`, 'hash'],
    ['revision', 'UPDATE events SET revision = 3 WHERE position = 5', 'order'],
    ['pointer', 'UPDATE events SET prev = 1 WHERE position = 5', 'order'],
    ['a missing event', 'DELETE FROM events WHERE position = 5; UPDATE events SET position = position - 1 WHERE position > 5', 'order'],
  ];
  it.each(changes)('finds a change of %s and names stream and revision', async (_what, sql, reason) => {
    covers('T18');
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore({ file });
    for (let n = 0; n < 4; n++) for (const stream of ['a', 'b']) await store.append(stream, 'any', [event('E', { n })]);
    await store.close();
    expect(verifyStore(file)).toEqual({ ok: true, events: 8, streams: 2 });
    const db = new Database(file);
    db.exec(sql);
    db.close();
    expect(verifyStore(file)).toEqual({ ok: false, stream: 'a', revision: 2, position: expect.any(Number), reason });
  });

  const tampered = async (sql: string) => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore({ file });
    for (let n = 0; n < 5; n++)
      for (const stream of ['device-1', 'device-2', 'device-3']) await store.append(stream, 'any', [event('E', { n })]);
    await store.close();
    const db = new Database(file);
    db.exec(sql);
    db.close();
    return verifyStore(file);
  };
  const places: [what: string, sql: string, verdict: object][] = [
    [
      'an event that was removed',
      'DELETE FROM events WHERE position = 5',
      { position: 5, stream: 'device-2', revision: 1, reason: 'missing' },
    ],
    ['the newest event of a stream, removed', 'DELETE FROM events WHERE position = 13', { position: 13, reason: 'missing' }],
    ['the newest of all, removed', 'DELETE FROM events WHERE position = 15', { position: 15, reason: 'missing' }],
    ['all from some event on', 'DELETE FROM events WHERE position > 9', { position: 10, reason: 'missing' }],
    [
      'an event that was given to a stream without events',
      "UPDATE events SET stream = 'device-9' WHERE position = 7",
      { position: 7, stream: 'device-1', revision: 2, reason: 'stream' },
    ],
    [
      'the first event of a stream, given to another',
      "UPDATE events SET stream = 'device-9' WHERE position = 2",
      { position: 2, stream: 'device-2', revision: 0, reason: 'stream' },
    ],
    [
      'the newest event of a stream, given to another',
      "UPDATE events SET stream = 'device-1' WHERE position = 14",
      { position: 14, stream: 'device-2', revision: 4, reason: 'stream' },
    ],
    [
      'a whole stream that was renamed',
      "UPDATE events SET stream = 'device-9' WHERE stream = 'device-1'",
      { position: 1, stream: 'device-9', revision: 0, reason: 'hash' },
    ],
    [
      'the content of the newest event of a stream',
      'UPDATE events SET body = replace(body, \'"n":4\', \'"n":9\') WHERE position = 14',
      { position: 14, stream: 'device-2', revision: 4, reason: 'hash' },
    ],
  ];
  it.each(places)('names the place of %s', async (_what, sql, verdict) => {
    expect(await tampered(sql)).toEqual({ ok: false, ...verdict });
  });

  it('refuses what is not a store', () => {
    expect(() => verifyStore(join(import.meta.dirname, 'hashchain.test.ts'))).toThrow(expect.objectContaining({ code: 'STORE_DAMAGED' }));
    expect(() => verifyStore('/nowhere/events.db')).toThrow(expect.objectContaining({ code: 'STORE_DAMAGED' }));
  });
});

describe('canonical JSON (RFC 8785)', () => {
  it('sorts names by UTF-16 code units (§3.2.3, the example there)', () => {
    const value = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 };
    expect(canonicalJson(value)).toBe('{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}');
  });

  it('writes numbers and literals as §3.2.2 does', () => {
    expect(
      canonicalJson(
        JSON.parse('{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false]}'),
      ),
    ).toBe('{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}');
    expect(canonicalJson(-0)).toBe('0');
  });

  it('one value has one text, whatever the order it came in', () => {
    fc.assert(
      fc.property(jsonObject, value => {
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(reversed)).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(value);
        expect(canonicalJson(JSON.parse(canonicalJson(value)) as JsonObject)).toBe(canonicalJson(value));
      }),
    );
  });

  it.each([undefined, Number.NaN, Number.POSITIVE_INFINITY, 1n, () => 1, new Date(), new Uint8Array(1), { a: undefined }, [undefined]])(
    'refuses %s',
    value => {
      expect(() => canonicalJson(value as never)).toThrow(TypeError);
    },
  );
});
