import { rmSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it } from 'vitest';
import { chainHash, chainStart } from '../../src/eventstore/hashchain.ts';
import { rowCheck } from '../../src/eventstore/rowCheck.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { createEdge } from '../../src/merkle/edge.ts';
import { leafOfHash, toBytes } from '../../src/merkle/hashing.ts';
import { covers } from '../support/covers.ts';
import { event, nextId, temporaryFolder } from './support.ts';

/** What an insider can do who writes into the file, knows the format and makes every unkeyed check fit again (T18). */

const seal = { key: new Uint8Array(32).fill(3), isNew: false };
const total = 300;
const streams = ['operators', 'device-1', 'device-2', 'device-3'];

type Row = { position: number; stream: string; revision: number; prev: number; id: string; hash: string; body: string };

let file: string;
let signed: { size: number; root: string };
beforeEach(async () => {
  file = join(temporaryFolder(), 'events.db');
  const store = await openSqliteStore({ file, seal: { ...seal, isNew: true } });
  for (let i = 0; i < total; i += 4)
    await Promise.all(streams.map(stream => store.append(stream, 'any', [event('Happened', { i, stream })])));
  signed = { size: store.head(), root: await store.tree.root(store.head()) };
  await store.close();
});

/** The rows as the insider wants them. Positions, revisions, pointers, hashes and checksums are made to fit. */
function rewrite(change: (rows: Row[]) => Row[], tiles: 'left' | 'made to fit' = 'left'): void {
  rmSync(`${file}-head`, { force: true });
  const db = new Database(file);
  const rows = change(db.prepare<Row>('SELECT position, stream, revision, prev, id, hash, body FROM events ORDER BY position').all());
  const insert = db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
  const heads = new Map<string, Row>();
  const edge = createEdge();
  db.exec('BEGIN; DELETE FROM events');
  if (tiles === 'made to fit') db.exec('DELETE FROM tiles');
  rows.forEach(({ stream, id, body }, i) => {
    const before = heads.get(stream);
    const [position, revision, prev] = [i + 1, (before?.revision ?? -1) + 1, before?.position ?? 0];
    const hash = chainHash(before?.hash ?? chainStart, stream, revision, id, body);
    insert.run(position, stream, revision, prev, id, hash, body, rowCheck(position, stream, revision, prev, id, hash, body));
    heads.set(stream, { position, stream, revision, prev, id, hash, body });
    for (const { level, number, hashes } of edge.add(leafOfHash(hash)))
      if (tiles === 'made to fit') db.prepare('INSERT INTO tiles VALUES (?, ?)').run(level * 2 ** 40 + number, toBytes(hashes));
  });
  db.exec('COMMIT');
  db.close();
}

const at = (rows: Row[], position: number): Row => rows[position - 1] as Row;
const changed = (row: Row, from: string, to: string): Row => ({ ...row, body: row.body.replace(from, to) });
const planted = (stream: string): Row => ({
  position: 0,
  stream,
  revision: 0,
  prev: 0,
  id: nextId(),
  hash: '',
  body: JSON.stringify(['TokenSet', 1, '2026-01-02T03:04:05.678Z', 'operator:mallory', null, null, { token: 'x' }]),
});

type Expected = { position: number; stream?: string; revision?: number; reason: string };
/** In the first tile, and behind it, where only the checkpoint and the seal tell. */
const inTile = 101;
const first = (position: number, reason = 'tree'): Expected => ({
  position,
  stream: streams[(position - 1) % 4] as string,
  revision: Math.floor((position - 1) / 4),
  reason,
});
const upTo = (position: number): Expected => ({ position, reason: 'checkpoint' });

const kinds: readonly [what: string, change: (rows: Row[]) => Row[], found: Expected][] = [
  ['the content of an event', rows => rows.with(inTile - 1, changed(at(rows, inTile), '"i":', '"i":7')), first(inTile)],
  ['its type', rows => rows.with(inTile - 1, changed(at(rows, inTile), 'Happened', 'Forgotten')), first(inTile)],
  ['its time', rows => rows.with(inTile - 1, changed(at(rows, inTile), '2026', '2025')), first(inTile)],
  ['who did it', rows => rows.with(inTile - 1, changed(at(rows, inTile), 'system:test', 'operator:bob')), first(inTile)],
  ['its id', rows => rows.with(inTile - 1, { ...at(rows, inTile), id: nextId() }), first(inTile)],
  [
    'a token written over an older one',
    rows => rows.with(inTile - 1, { ...at(rows, inTile), body: planted('operators').body }),
    first(inTile),
  ],
  ['an event removed, the gap closed', rows => rows.toSpliced(inTile - 1, 1), { ...first(inTile), stream: 'device-1', revision: 25 }],
  ['an event planted in the middle', rows => rows.toSpliced(inTile - 1, 0, planted('operators')), first(inTile)],
  [
    'two events of two streams in the other order',
    rows => rows.with(inTile - 1, at(rows, inTile + 1)).with(inTile, at(rows, inTile)),
    { ...first(inTile), stream: 'device-1', revision: 25 },
  ],
  [
    'two events of one stream in the other order',
    rows => rows.with(inTile - 1, at(rows, inTile + 4)).with(inTile + 3, at(rows, inTile)),
    first(inTile),
  ],
  [
    'an event moved to another stream',
    rows => rows.with(inTile - 1, { ...at(rows, inTile), stream: 'device-9' }),
    { ...first(inTile), stream: 'device-9', revision: 0 },
  ],
  [
    'a whole stream renamed',
    rows => rows.map(row => (row.stream === 'device-2' ? { ...row, stream: 'device-9' } : row)),
    { ...first(3), stream: 'device-9' },
  ],
  [
    'the end of one stream removed',
    rows => rows.filter(({ stream, position }) => stream !== 'device-3' || position < 200),
    { position: 200, stream: 'operators', revision: 50, reason: 'tree' },
  ],
  ['an event behind the last tile', rows => rows.with(289, changed(at(rows, 290), '"i":', '"i":7')), upTo(total)],
  ['the end of the log cut off', rows => rows.slice(0, 290), { position: 291, reason: 'missing' }],
  ['yesterday’s file', rows => rows.slice(0, 200), { position: 201, reason: 'missing' }],
];

describe('16 kinds of tampering, each with fresh hashes (T18)', () => {
  it('a store that nobody touched is whole, and opens', async () => {
    expect(verifyStore(file, signed)).toEqual({ ok: true, events: total, streams: 4 });
    await (await openSqliteStore({ file, seal })).close();
  });

  it.each(kinds)('%s: verification names the first event that does not hold', (_, change, found) => {
    covers('T18');
    rewrite(change);
    expect(verifyStore(file, signed)).toEqual({ ok: false, ...found });
  });

  it.each(kinds)('%s: with the tree made to fit, the checkpoint shows it', (_, change) => {
    covers('T18');
    rewrite(change, 'made to fit');
    expect(verifyStore(file, signed)).toMatchObject({ ok: false });
    // Without anything signed such a store is whole: nothing in the file itself tells.
    expect(verifyStore(file)).toMatchObject({ ok: true });
  });

  it.each(kinds)('%s: with the tree made to fit, the store does not open for want of a seal', async (_, change) => {
    rewrite(change, 'made to fit');
    await expect(openSqliteStore({ file, seal })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });

  it('a planted event behind the checkpoint is no fault of the chain; the seal does not cover it', async () => {
    rewrite(rows => [...rows, planted('operators')], 'made to fit');
    expect(verifyStore(file, signed)).toMatchObject({ ok: true });
    const refusal = { code: 'STORE_DAMAGED', message: expect.stringContaining(`from position ${total + 1} on`) };
    await expect(openSqliteStore({ file, seal })).rejects.toMatchObject(refusal);
  });
});
