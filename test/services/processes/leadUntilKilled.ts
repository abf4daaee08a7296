import { setTimeout } from 'node:timers/promises';
import { createIdSource } from '../../../src/eventstore/ids.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';
import { whileLeading } from '../../../src/services/processes/leadership.ts';

/** Child process of leadership.test.ts: leads as soon as it may, and appends one event after the other under its epoch until it is refused. What happens goes to the
 *  parent as lines. */

const [file, dataDir, name] = process.argv.slice(2) as [string, string, string];
const store = await openSqliteStore({ file });
const newId = createIdSource();
const report = (line: string): void => void process.send?.(line);

await whileLeading(
  { dataDir, store },
  async epoch => {
    const work = async (): Promise<void> => {
      for (;;) {
        const event = { type: 'Led', id: newId(), at: '2026-01-02T03:04:05.678Z', by: `system:${name}`, data: { epoch } };
        try {
          await store.commit({ appends: [{ stream: 'led', expected: 'any', events: [event] }], epoch });
        } catch (error) {
          return report(`${name} refused ${(error as { code?: string }).code}`);
        }
        await setTimeout(5);
      }
    };
    report(`${name} begins ${epoch}`);
    const working = work();
    return async () => {
      await working;
      report(`${name} ends ${epoch}`);
    };
  },
  error => report(`${name} ${error}`),
);
report(`${name} looks`);
setInterval(() => {}, 60_000);
