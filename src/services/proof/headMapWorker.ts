import { parentPort, workerData } from 'node:worker_threads';
import { withRevocation } from '../../merkle/checkpoint.ts';
import { type HeadTile, type HeadTiles, setHeads, streamKey } from '../../merkle/headMap.ts';
import { openHeadRows, type Reached } from './headMapRows.ts';
import { type HeadChanges, type HeadMapAnswer, type HeadMapTask, revoking } from './headMapThread.ts';

/** The thread behind headMapThread.ts. */

/** Events that are taken in together: the upper tiles are hashed once for all of them. */
const eventsAtOnce = 1000;
/** Tiles that have changed and are not in the file yet: a tile that changes again is written once. */
const maxUnwrittenTiles = 2000;

type HeadChange = {
  readonly position: number;
  readonly revision: number;
  readonly hash: string;
  readonly revokes: boolean;
  readonly stream: string;
};

const rows = openHeadRows(workerData as string, true);
const unwritten = new Map<string, HeadTile>();
const tiles: HeadTiles = {
  load: prefix => unwritten.get(prefix) ?? rows.tiles.load(prefix),
  save: (...tile) => void unwritten.set(...tile),
};
let reached = rows.now();
/** Size of what is in the file. */
let from = reached.size;
let waiting: HeadChange[] = [];

parentPort?.on('message', (task: HeadMapTask) => {
  if (task === 'close') {
    rows.close();
    parentPort?.close();
  } else if (task === 'begin') goOnFrom(rows.now());
  else parentPort?.postMessage(task === 'write' ? write() : take(task.take));
});

function goOnFrom(now: Reached): void {
  waiting = [];
  unwritten.clear();
  reached = now;
  from = now.size;
}

function take(changes: HeadChanges): HeadMapAnswer {
  const events = changes.split('\n').map(changeIn);
  if (events[0]?.position !== reached.size + waiting.length + 1) return 'lost';
  waiting.push(...events);
  if (waiting.length >= eventsAtOnce) takeIn();
  return unwritten.size > maxUnwrittenTiles ? write() : reached;
}

function takeIn(): void {
  if (waiting.length > 0) reached = rows.reading(() => withEvents(reached, waiting));
  waiting = [];
}

function withEvents({ revocations }: Reached, events: readonly HeadChange[]): Reached {
  const newest = new Map(events.map(event => [event.stream, event]));
  const heads = [...newest.values()].map(({ stream, revision, hash }) => ({ key: streamKey(stream), revision, hash }));
  const { position: size, hash } = events.at(-1) as HeadChange;
  const changes = events.filter(({ revokes }) => revokes);
  return {
    size,
    hash,
    root: setHeads(tiles, heads),
    revocations: changes.reduce((mark, event) => withRevocation(mark, event.hash), revocations),
  };
}

function write(): HeadMapAnswer {
  takeIn();
  const isWritten = reached.size === from || rows.write(from, reached, unwritten);
  goOnFrom(isWritten ? reached : rows.now());
  return isWritten ? reached : 'lost';
}

function changeIn(line: string): HeadChange {
  const [position, revision, hash = '', mark, stream = ''] = line.split(' ');
  return { position: Number(position), revision: Number(revision), hash, revokes: mark === revoking, stream };
}
