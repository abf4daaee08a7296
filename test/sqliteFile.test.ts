import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder } from './eventstore/support.ts';
import type { Opener } from './openTogether.ts';

/** Files that several processes open at the same time. */

const processes = 4;
const files = 20;
/** Until each has been told. */
const startMs = 30;
let children: readonly ChildProcess[];

beforeAll(async () => {
  children = Array.from({ length: processes }, () => fork(join(import.meta.dirname, 'openTogether.ts')));
  await Promise.all(children.map(child => once(child, 'message')));
});
afterAll(async () => {
  const exits = children.map(child => once(child, 'exit'));
  for (const child of children) child.disconnect();
  await Promise.all(exits);
});

const openers: readonly Opener[] = [
  'the event store',
  'the custody of boot keys',
  'the log of attestations',
  'the read models',
  'the map of heads',
  'a shared file',
];

it.each(openers)('%s: a new one is there for each of four processes that open it at once', async what => {
  const folder = temporaryFolder();
  for (let i = 0; i < files; i++) {
    const answers = children.map(child => once(child, 'message'));
    const atMs = Date.now() + startMs;
    for (const child of children) child.send({ what, file: join(folder, `${i}.db`), atMs });
    expect((await Promise.all(answers)).map(([answer]) => answer)).toEqual(Array(processes).fill('opened'));
  }
});
