import { writeSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { NusecError } from '../../../src/errors.ts';
import { createIdSource } from '../../../src/eventstore/ids.ts';
import { RevisionConflict } from '../../../src/eventstore/revision.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';

/** Child process of race.test.ts: appends to streams that others append to as well, under every kind of condition, until it is killed. Before an append it
 *  says what it will ask, afterwards what was answered; `unknown` when another process stood still in the middle of a commit. */

const [, , file, key, name] = process.argv as [string, string, string, string, string];
const store = await openSqliteStore({ file, seal: { key: Buffer.from(key, 'hex'), isNew: true }, lockWaitMs: 20_000 });
const newId = createIdSource();
const say = (word: string, ...what: readonly unknown[]): void => void writeSync(1, `${word} ${what.join(' ')}\n`);
say('open');

const writers = 6;
const streams = 4;

async function write(writer: number): Promise<void> {
  for (let n = 0; ; n++) {
    const stream = `s-${Math.floor(Math.random() * streams)}`;
    const newest = (await store.readStream(stream)).length - 1;
    const id = newId();
    const expected = n % 3 === 0 ? 'any' : newest < 0 ? 'none' : newest;
    const appended = { type: 'Raced', id, at: '2026-01-02T03:04:05.678Z', by: 'system:test', data: { writer: `${name}-${writer}`, n } };
    say('ask', id);
    try {
      const { position, revision } = await store.append(stream, expected, [appended]);
      say('stored', id, position, stream, revision);
      // Sometimes the answer gets lost on its way to whoever asked.
      if (n % 7 === 0) {
        const again = await store.append(stream, expected, [appended]);
        if (again.position !== position) say('WRONG', id, 'is stored again at', again.position);
      }
    } catch (error) {
      if (!(error instanceof RevisionConflict)) {
        const isLocked = error instanceof NusecError && error.code === 'STORE_UNAVAILABLE';
        say(isLocked ? 'unknown' : 'failed', id, (error as Error).message);
        continue;
      }
      if (error.expected !== expected) say('WRONG', id, 'conflict of another append');
      say('refused', id);
    }
    if (n % 5 === 0) await setTimeout(1);
  }
}

await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
