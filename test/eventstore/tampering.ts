import { rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { chainHash, chainStart } from '../../src/eventstore/hashchain.ts';
import type { EventToAppend } from '../../src/eventstore/port.ts';
import { rowCheck } from '../../src/eventstore/rowCheck.ts';
import { createEdge } from '../../src/merkle/edge.ts';
import { leafOfHash, toBytes } from '../../src/merkle/hashing.ts';
import { event, nextId } from './support.ts';

/** What an insider can do who writes into the file, knows the format and makes every unkeyed check fit again (T18): 16 kinds.
 *
 *  The log: `before` events of any kind, then 300 alarms in four streams by turns. */

export const total = 300;
export const streams = ['alarm-0', 'alarm-1', 'alarm-2', 'alarm-3'];

export const eventsOf = (stream: string, i: number): readonly EventToAppend[] => [
  event('AlarmRaised', { code: 'TEST', subject: stream.slice('alarm-'.length), detail: `${i}` }),
];

export type Row = { position: number; stream: string; revision: number; prev: number; id: string; hash: string; body: string };

/** The rows as the insider wants them. Positions, revisions, pointers, hashes and checksums are made to fit. */
export function rewrite(file: string, change: (rows: Row[]) => Row[], tiles: 'left' | 'made to fit' = 'left'): void {
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

export const planted = (stream: string): Row => ({
  position: 0,
  stream,
  revision: 0,
  prev: 0,
  id: nextId(),
  hash: '',
  body: JSON.stringify(['TokenSet', 1, '2026-01-02T03:04:05.678Z', 'operator:mallory', null, null, { token: 'x' }]),
});

export type Found = { position: number; stream?: string; revision?: number; reason: string; from?: number };
export type Tampering = readonly [what: string, change: (rows: Row[]) => Row[], found: Found];

/** @param before events in front of the 300, fewer than 150
 *  @param operators events of the stream `operators` among them
 *  @param held size of the newest checkpoint but one, 0: none */
export function kinds(before = 0, operators = 0, held = 0): readonly Tampering[] {
  /** In the first tile, and behind it, where only the checkpoint and the seal tell. */
  const inTile = before + 101;
  const end = before + total;
  const first = (position: number): Found => ({
    position,
    stream: streams[(position - before - 1) % 4] as string,
    revision: Math.floor((position - before - 1) / 4),
    reason: 'tree',
  });
  const put = (rows: Row[], row: Row): Row[] => rows.with(inTile - 1, row);
  return [
    ['the content of an event', rows => put(rows, changed(at(rows, inTile), '"detail":"', '"detail":"7')), first(inTile)],
    ['its type', rows => put(rows, changed(at(rows, inTile), 'AlarmRaised', 'Forgotten')), first(inTile)],
    ['its time', rows => put(rows, changed(at(rows, inTile), '2026', '2025')), first(inTile)],
    ['who did it', rows => put(rows, changed(at(rows, inTile), 'system:test', 'operator:bob')), first(inTile)],
    ['its id', rows => put(rows, { ...at(rows, inTile), id: nextId() }), first(inTile)],
    ['a token written over an older event', rows => put(rows, { ...at(rows, inTile), body: planted('operators').body }), first(inTile)],
    ['an event removed, the gap closed', rows => rows.toSpliced(inTile - 1, 1), { ...first(inTile), stream: 'alarm-1', revision: 25 }],
    [
      'a token planted in the middle',
      rows => rows.toSpliced(inTile - 1, 0, planted('operators')),
      { ...first(inTile), stream: 'operators', revision: operators },
    ],
    [
      'two events of two streams in the other order',
      rows => put(rows, at(rows, inTile + 1)).with(inTile, at(rows, inTile)),
      { ...first(inTile), stream: 'alarm-1', revision: 25 },
    ],
    [
      'two events of one stream in the other order',
      rows => put(rows, at(rows, inTile + 4)).with(inTile + 3, at(rows, inTile)),
      first(inTile),
    ],
    [
      'an event moved to another stream',
      rows => put(rows, { ...at(rows, inTile), stream: 'alarm-9' }),
      { ...first(inTile), stream: 'alarm-9', revision: 0 },
    ],
    [
      'a whole stream renamed',
      rows => rows.map(row => (row.stream === 'alarm-2' ? { ...row, stream: 'alarm-9' } : row)),
      { ...first(before + 3), stream: 'alarm-9' },
    ],
    [
      'the end of one stream removed',
      rows => rows.filter(({ stream, position }) => stream !== 'alarm-3' || position < before + 200),
      { position: before + 200, stream: 'alarm-0', revision: 50, reason: 'tree' },
    ],
    [
      'an event behind the last tile',
      rows => rows.with(end - 11, changed(at(rows, end - 10), '"detail":"', '"detail":"7')),
      { position: end, reason: 'checkpoint', from: held + 1 },
    ],
    ['the end of the log cut off', rows => rows.slice(0, end - 10), { position: end - 9, reason: 'missing' }],
    ['yesterday’s file', rows => rows.slice(0, end - 100), { position: end - 99, reason: 'missing' }],
  ];
}
