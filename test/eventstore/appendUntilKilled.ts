import { writeSync } from 'node:fs';
import { createIdSource } from '../../src/eventstore/ids.ts';
import { RevisionConflict } from '../../src/eventstore/revision.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';

/** Child process of durability.test.ts: 16 writers append to the store until the process is killed, beside other processes if there are any.
 *  What the store has acknowledged goes to standard output in one write per event, so that it outlives the process. */

const store = await openSqliteStore({ file: process.argv[2] as string });
const newId = createIdSource();
writeSync(1, 'open\n');

async function write(stream: string): Promise<void> {
  for (let revision = (await store.readStream(stream)).length - 1; ; ) {
    const events = ['A', 'B'].map(type => ({
      type,
      id: newId(),
      at: '2026-01-02T03:04:05.678Z',
      by: 'system:test',
      data: { after: revision },
    }));
    try {
      const result = await store.append(stream, revision < 0 ? 'none' : revision, events);
      revision = result.revision;
      writeSync(1, `${result.position} ${stream} ${revision} ${events[1]?.id}\n`);
    } catch (error) {
      if (!(error instanceof RevisionConflict)) throw error;
      revision = error.actual;
    }
  }
}

await Promise.all(Array.from({ length: 16 }, (_, writer) => write(`writer-${writer}`)));
