import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** Runs `work` with the protocol double of KurrentDB in a process of its own. */
export async function withDouble(work: (url: string) => Promise<void>): Promise<void> {
  const double = fork(join(import.meta.dirname, '../../test/eventstore/kurrentdb/serveDouble.ts'), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const [url] = (await once(double, 'message')) as [string];
  try {
    await work(url);
  } finally {
    double.kill();
  }
}
